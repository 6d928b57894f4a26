"""Pods of the chart and of the HR example on a node: what is changed under load costs nobody a token."""

import json
import uuid
from functools import partial
from typing import Any

import pytest

from tests.chart.helm import NAMESPACE, Refused

from .system import NAMESPACES, RELEASE, SERVICES, STAFF, System

OPERATOR, ISSUER = f"{RELEASE}-operator", f"{RELEASE}-issuer"


def test_all_pods_run_without_a_restart(system: System) -> None:
    for namespace in NAMESPACES:
        found = json.loads(system.kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))
        containers = [status for pod in found["items"] for status in pod["status"]["containerStatuses"]]
        assert containers
        for status in containers:
            assert (status["ready"], status["restartCount"]) == (True, 0), system.pods(namespace)


def test_every_part_is_restarted_while_keys_and_secrets_rotate(system: System) -> None:
    restarted_while_keys_and_secrets_rotate(system, OPERATOR)


def test_the_issuers_move_to_their_own_pods(system: System) -> None:
    with pytest.raises(Refused, match=r"issuer\.mode=both and wait"):
        system.change_mode("deployment")
    system.change_mode("both")
    system.change_mode("deployment")
    moved(system, {(ISSUER, "issuer"): 2})


def test_every_part_is_restarted_there_while_keys_and_secrets_rotate(system: System) -> None:
    restarted_while_keys_and_secrets_rotate(system, OPERATOR, ISSUER)


def test_the_issuers_move_back_beside_the_operator(system: System) -> None:
    with pytest.raises(Refused, match=r"issuer\.mode=both and wait"):
        system.change_mode("sidecar")
    system.change_mode("both")
    system.change_mode("sidecar")
    moved(system, {(OPERATOR, "operator,issuer"): 2})


def moved(system: System, serving: dict[tuple[str, str], int]) -> None:
    """To those, and nobody has noticed, also when the last of the others has left."""
    system.until(lambda: system.serving() == serving, lambda: (system.serving(), system.pods(NAMESPACE)))
    system.left(NAMESPACE)
    nobody_was_refused(system)


def restarted_while_keys_and_secrets_rotate(system: System, *ours: str) -> None:
    """With the services, all at once."""
    callers = ("hr-desk", "auditor")
    before = {caller: system.totals(caller) for caller in callers}
    rotate(system, NAMESPACE, "signingkeys.scopewright.dev/default")
    for caller in callers:
        rotate(system, STAFF, f"oauthclients.scopewright.dev/{caller}")
    system.restart({**dict.fromkeys(ours, NAMESPACE), **{name: name for name in SERVICES}})
    for caller in callers:
        system.until(partial(renewed, system, caller, before[caller]), partial(system.says, caller))
    nobody_was_refused(system)


def rotate(system: System, namespace: str, what: str) -> None:
    annotation = f"scopewright.dev/rotate={uuid.uuid4()}"
    system.kubectl("annotate", "--overwrite", f"--namespace={namespace}", what, annotation)


def nobody_was_refused(system: System) -> None:
    """Since the load began, and for a while from now."""
    for caller in system.callers:
        name, before = caller.name, system.totals(caller.name)
        said = system.until(partial(later, system, name, before), partial(system.says, name))
        print(f"{name}: {said['tokens']} tokens, accepted {said['accepted']} times, {len(said['lost'])} calls lost")
        assert not said["no_token"]
        assert not said["refused"]
        assert not said["twice"]


def renewed(system: System, caller: str, before: dict[str, Any]) -> bool:
    now = system.totals(caller)
    return bool(now["secrets"] > before["secrets"] and now["keys"] != before["keys"])


def later(system: System, caller: str, before: dict[str, Any]) -> dict[str, Any] | None:
    now = system.totals(caller)
    counts = ("tokens", "accepted", *(["spent"] if caller == "auditor" else []))
    return now if all(now[count] > before[count] + 10 for count in counts) else None
