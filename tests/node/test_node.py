"""Pods of the chart and of the HR example on a node: changes under load without a refused request."""

import json
import uuid
from functools import partial
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, Refused

from . import valkey
from .system import RELEASE, SERVICES, STAFF, System

OPERATOR, ISSUER = f"{RELEASE}-operator", f"{RELEASE}-issuer"


def test_all_pods_run_without_a_restart(system: System) -> None:
    for namespace in (NAMESPACE, *SERVICES, STAFF, valkey.NAMESPACE):
        found = json.loads(system.kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))
        containers = [status for pod in found["items"] for status in pod["status"]["containerStatuses"]]
        assert containers
        for status in containers:
            assert (status["ready"], status["restartCount"]) == (True, 0), system.pods(namespace)


def test_every_part_is_restarted_while_keys_and_secrets_rotate(system: System) -> None:
    restart_while_keys_and_secrets_rotate(system, OPERATOR)


def test_the_issuers_move_to_their_own_pods(system: System) -> None:
    with pytest.raises(Refused, match=r"issuer\.mode=both and wait"):
        system.change_mode("deployment")
    system.change_mode("both")
    system.change_mode("deployment")
    wait_until_moved(system, {(ISSUER, "issuer"): 2})


def test_every_part_is_restarted_in_deployment_mode_while_keys_and_secrets_rotate(system: System) -> None:
    restart_while_keys_and_secrets_rotate(system, OPERATOR, ISSUER)


def test_the_issuers_move_back_beside_the_operator(system: System) -> None:
    with pytest.raises(Refused, match=r"issuer\.mode=both and wait"):
        system.change_mode("sidecar")
    system.change_mode("both")
    system.change_mode("sidecar")
    wait_until_moved(system, {(OPERATOR, "operator,issuer"): 2})


def wait_until_moved(system: System, serving: dict[tuple[str, str], int]) -> None:
    """Wait until exactly these Pods serve, and check that no request was refused."""
    system.until(lambda: system.serving() == serving, lambda: (system.serving(), system.pods(NAMESPACE)))
    system.wait_until_terminated(NAMESPACE)
    check_no_refusals(system)


def restart_while_keys_and_secrets_rotate(system: System, *deployments: str) -> None:
    """Restart these Deployments and all services at once."""
    callers = ("hr-desk", "auditor")
    before = {caller: system.totals(caller) for caller in callers}
    rotate(system, NAMESPACE, "signingkeys.scopewright.dev/default")
    for caller in callers:
        rotate(system, STAFF, f"oauthclients.scopewright.dev/{caller}")
    system.restart({**dict.fromkeys(deployments, NAMESPACE), **{name: name for name in SERVICES}})
    for caller in callers:
        system.until(partial(renewed, system, caller, before[caller]), partial(system.diagnosis, caller))
    check_no_refusals(system)


def rotate(system: System, namespace: str, what: str) -> None:
    annotation = f"scopewright.dev/rotate={uuid.uuid4()}"
    system.kubectl("annotate", "--overwrite", f"--namespace={namespace}", what, annotation)


def check_no_refusals(system: System) -> None:
    """No refused request since the load began, nor in the next seconds."""
    for caller in system.callers:
        name, before = caller.name, system.totals(caller.name)
        totals = system.until(partial(later, system, name, before), partial(system.diagnosis, name))
        print(
            f"{name}: {totals['tokens']} tokens, accepted {totals['accepted']} times, {len(totals['lost'])} calls lost"
        )
        assert not totals["no_token"]
        assert not totals["refused"]
        assert not totals["twice"]


def renewed(system: System, caller: str, before: dict[str, Any]) -> bool:
    now = system.totals(caller)
    return bool(now["secrets"] > before["secrets"] and now["keys"] != before["keys"])


def later(system: System, caller: str, before: dict[str, Any]) -> dict[str, Any] | None:
    now = system.totals(caller)
    counts = ("tokens", "accepted", *(["spent"] if caller == "auditor" else []))
    return now if all(now[count] > before[count] + 10 for count in counts) else None
