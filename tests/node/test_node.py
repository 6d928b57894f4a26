"""Pods of the chart and of the HR example on a node: what is changed under load costs nobody a token."""

import json
from functools import partial
from typing import Any

from tests.chart.helm import NAMESPACE

from .system import NAMESPACES, RELEASE, SERVICES, STAFF, System


def test_everything_runs_and_nothing_had_to_be_started_again(system: System) -> None:
    for namespace in NAMESPACES:
        found = json.loads(system.kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))
        containers = [status for pod in found["items"] for status in pod["status"]["containerStatuses"]]
        assert containers
        for status in containers:
            assert (status["ready"], status["restartCount"]) == (True, 0), system.pods(namespace)


def test_a_signing_key_rotates_while_operator_and_issuers_are_restarted(system: System) -> None:
    before = system.totals("hr-desk")["keys"]
    rotate(system, NAMESPACE, "signingkeys.scopewright.dev/default")
    system.restart({f"{RELEASE}-operator": NAMESPACE})
    system.until(lambda: system.totals("hr-desk")["keys"] != before, lambda: system.says("hr-desk"))
    nobody_was_refused(system)


def test_a_rotated_secret_reaches_the_pods(system: System) -> None:
    before = system.totals("hr-desk")["secrets"]
    rotate(system, STAFF, "oauthclients.scopewright.dev/hr-desk")
    system.until(lambda: system.totals("hr-desk")["secrets"] > before, lambda: system.says("hr-desk"))
    nobody_was_refused(system)


def test_services_that_are_restarted_take_the_tokens_that_they_took_before(system: System) -> None:
    system.restart({name: name for name in SERVICES})
    nobody_was_refused(system)


def rotate(system: System, namespace: str, what: str) -> None:
    system.kubectl("annotate", "--overwrite", f"--namespace={namespace}", what, "scopewright.dev/rotate=now")


def nobody_was_refused(system: System) -> None:
    """Since the load began, and for a while from now."""
    for caller in system.callers:
        name, before = caller.name, system.totals(caller.name)
        said = system.until(partial(later, system, name, before), partial(system.says, name))
        print(f"{name}: {said['tokens']} tokens, accepted {said['accepted']} times, {len(said['lost'])} calls lost")
        assert not said["no_token"]
        assert not said["refused"]


def later(system: System, caller: str, before: dict[str, Any]) -> dict[str, Any] | None:
    now = system.totals(caller)
    return now if all(now[count] > before[count] + 10 for count in ("tokens", "accepted")) else None
