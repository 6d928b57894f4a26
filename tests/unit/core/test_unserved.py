"""The condition of an object whose issuer is not served: its message, and which installation writes it."""

from datetime import timedelta
from typing import Any

import pytest

from scopewright.core.claims import Claim, Stage
from scopewright.core.config import Config
from scopewright.core.unserved_issuer import MAX_NAMES, REASON, unserved_status
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.core.builders import NOW, client

CONFIG = Config(issuer=ISSUER, namespace=NAMESPACE)
CLAIM = Claim("default", NAMESPACE, Stage.HELD, ("2026-11-22T12:00:00Z", "a"))
LATER = Claim("eu", "scopewright-eu", Stage.HELD, ("2026-11-23T12:00:00Z", "b"))
EARLIER = Claim("us", "scopewright-us", Stage.HELD, ("2026-11-21T12:00:00Z", "c"))


def client_of_issuer(issuer: str = "prod", **status: Any) -> Any:
    obj = client("leave", "worker")
    found = obj.model_copy(update={"spec": obj.spec.model_copy(update={"issuer": issuer})})
    return type(obj).model_validate({**found.model_dump(by_alias=True), "status": status}) if status else found


def ready(status: dict[str, Any] | None) -> dict[str, Any]:
    assert status
    return next(dict(c) for c in status["conditions"] if c["type"] == "Ready")


def test_the_condition_names_the_issuers_that_are_served() -> None:
    status = unserved_status(client_of_issuer(), [CLAIM, LATER], CONFIG, NOW)
    condition = ready(status)
    assert (condition["status"], condition["reason"]) == ("False", REASON)
    assert "no installation serves spec.issuer 'prod'" in condition["message"]
    assert "served are: default, eu." in condition["message"]
    assert status
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "False", "Stalled": "True"}


def test_an_object_with_a_status_of_another_installation_is_not_touched() -> None:
    assert unserved_status(client_of_issuer("eu"), [CLAIM, LATER], CONFIG, NOW) is None
    assert unserved_status(client_of_issuer("default"), [], CONFIG, NOW) is None


def test_a_name_that_is_served_elsewhere_is_not_served_here() -> None:
    some = Claim("prod", "scopewright-prod", Stage.HELD, ("", ""), frozenset({"payroll"}))
    assert ready(unserved_status(client_of_issuer(), [CLAIM, some], CONFIG, NOW))["reason"] == REASON
    here = Claim("prod", "scopewright-prod", Stage.HELD, ("", ""), frozenset({"leave"}))
    assert unserved_status(client_of_issuer(), [CLAIM, here], CONFIG, NOW) is None


@pytest.mark.parametrize(("first", "writes"), [(CLAIM, True), (EARLIER, False)])
def test_only_the_oldest_installation_updates_the_condition(first: Claim, *, writes: bool) -> None:
    """Any installation may write the first status; two versions of the operator never write in turns."""
    claims = sorted({first, CLAIM, LATER}, key=lambda claim: claim.order)
    before = unserved_status(client_of_issuer(), [CLAIM], CONFIG, NOW)
    assert before
    again = unserved_status(client_of_issuer(**before), claims, CONFIG, NOW + timedelta(hours=1))
    assert (again is not None) == writes
    assert unserved_status(client_of_issuer(), claims, CONFIG, NOW) is not None


def test_an_unchanged_condition_is_not_written_again() -> None:
    before = unserved_status(client_of_issuer(), [CLAIM], CONFIG, NOW)
    assert before
    assert unserved_status(client_of_issuer(**before), [CLAIM], CONFIG, NOW + timedelta(hours=1)) is None


def test_a_paused_object_is_not_touched() -> None:
    obj = client_of_issuer()
    meta = obj.metadata.model_copy(update={"annotations": {"scopewright.dev/paused": "true"}})
    assert unserved_status(obj.model_copy(update={"metadata": meta}), [CLAIM], CONFIG, NOW) is None


def test_the_length_of_the_message_is_bounded() -> None:
    many = [Claim(f"team-{n}", f"of-{n}", Stage.HELD) for n in range(100)]
    assert f"and {101 - MAX_NAMES} more" in ready(unserved_status(client_of_issuer(), many, CONFIG, NOW))["message"]
