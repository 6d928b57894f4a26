"""Objects of another issuer, as a comparison meets them."""

import logging
from typing import Any

import pytest

from scopewright.controller.unserved_issuers import MAX_WRITES, UnservedIssuers
from scopewright.core.claims import Claim, Stage
from scopewright.core.failures import Conflict
from scopewright.core.objects import Ref
from tests.unit.controller.house import NAMESPACE, House, drive

OURS = Claim("default", NAMESPACE, Stage.HELD)
WORKER = Ref("OAuthClient", "leave", "worker")


@pytest.fixture
def house() -> House:
    house = House()
    house.apply("OAuthClient", "leave", "worker", {"issuer": "prod"})
    return house


def unserved(house: House, *, leads: bool = True) -> UnservedIssuers:
    return UnservedIssuers(house.store, house.config, lambda: house.now, lambda: [OURS], may_write=lambda: leads)


def raw(house: House) -> dict[str, Any]:
    return house.store.declared[WORKER]


def test_nobody_serves_it_and_its_status_says_so(house: House) -> None:
    found = unserved(house)
    found.saw(raw(house))
    drive(found.report())
    assert house.condition(WORKER) == "False IssuerNotServed"
    found.saw(raw(house))
    drive(found.report())
    assert len(house.store.writes) == 1, "once"


def test_its_installation_says_what_it_likes_later(house: House) -> None:
    """What another has reconciled is not looked at, and neither is what is being deleted."""
    found = unserved(house)
    ready = {"type": "Ready", "status": "True", "reason": "Provisioned"}
    found.saw({**raw(house), "status": {"conditions": [ready]}})
    found.saw({**raw(house), "metadata": {**raw(house)["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"}})
    found.saw({**raw(house), "spec": {"issuer": "prod", "rotation": "often"}})
    drive(found.report())
    assert not house.store.writes


def test_who_does_not_lead_writes_nothing(house: House) -> None:
    found = unserved(house, leads=False)
    found.saw(raw(house))
    drive(found.report())
    assert not house.store.writes


def test_another_write_in_between_is_left_to_the_next_comparison(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    found = unserved(house)
    found.saw(raw(house))
    house.store.fail(Conflict("changed"))
    drive(found.report())
    assert "was not written: changed" in caplog.text


def test_a_comparison_looks_at_a_bounded_number(house: House) -> None:
    found = unserved(house)
    for n in range(MAX_WRITES + 50):
        house.apply("OAuthClient", "flood", f"c{n}", {"issuer": "prod"})
        found.saw(house.store.declared[Ref("OAuthClient", "flood", f"c{n}")])
    drive(found.report())
    assert len(house.store.writes) == MAX_WRITES
    for declared in list(house.store.declared.values()):
        found.saw(declared)
    drive(found.report())
    assert len(house.store.writes) == MAX_WRITES + 51, "what is said already takes nobody's turn"
