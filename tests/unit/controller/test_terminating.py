"""Into a namespace that is being deleted nothing is written; what is withdrawn is withdrawn all the same."""

import logging

import pytest

from scopewright.controller.world import World
from scopewright.core.failures import Rejected
from tests.unit.controller.house import House

WORKER = ("OAuthClient", "leave", "worker")
LINE = "namespace leave is being deleted"


def in_leave(house: House, before: int) -> list[str]:
    """What was written into namespace leave since then."""
    return [w for w in house.store.writes[before:] if " leave/" in w]


@pytest.fixture
def house() -> House:
    house = House()
    house.apply(*WORKER)
    house.settle()
    return house


def test_a_secret_that_goes_with_its_namespace_is_not_made_again(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.world.put_namespace("leave", {}, "100", terminating=True)
    house.world.put_namespace("leave", {}, "101", terminating=True)
    house.store.drop(house.secret())
    before = len(house.store.writes)
    for _ in range(3):
        house.round()
    assert in_leave(house, before) == []
    assert caplog.text.count(LINE) == 1
    assert "WARNING" not in caplog.text


def test_a_client_that_is_disabled_there_is_refused(house: House) -> None:
    house.world.put_namespace("leave", {}, "100", terminating=True)
    house.apply(*WORKER, {"disabled": True})
    before = len(house.store.writes)
    house.round()
    record = house.client_record("leave", "worker")
    assert record is not None
    assert record.disabled
    assert in_leave(house, before) == []


def test_the_first_refusal_tells_where_namespaces_are_not_watched(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    house.store.drop(house.secret())
    house.store.fail(Rejected("NamespaceTerminating", "it is being terminated"), at=1)
    house.round()
    before = len(house.store.writes)
    house.round()
    house.round()
    assert in_leave(house, before) == []
    assert caplog.text.count(LINE) == 1
    assert "WARNING" not in caplog.text
    # Made again, and with it something is declared there.
    house.apply("OAuthClient", "leave", "another")
    house.settle()
    assert house.condition(house.apply("OAuthClient", "leave", "another")) == "True Provisioned"


def test_a_namespace_that_is_gone_is_no_longer_being_deleted() -> None:
    world = World("default", "scopewright-system")
    world.put_namespace("leave", {}, "1", terminating=True)
    assert world.terminating == {"leave"}
    world.put_namespace("leave", None, "2")
    assert world.terminating == set()


def test_a_late_refusal_does_not_mark_a_namespace_that_the_next_list_shows_alive() -> None:
    house = House()
    worker = house.apply(*WORKER)
    house.settle()
    house.world.put_namespace("leave", {}, "10")
    house.world.namespace_terminates("leave")
    assert house.world.put_namespace("leave", {}, "9") == set()
    assert house.world.terminating == {"leave"}, "an earlier state proves nothing"
    assert house.world.put_namespace("leave", {}, "10") == {worker}
    assert house.world.terminating == set()


def test_a_namespace_that_the_next_list_shows_deleting_stays_marked() -> None:
    world = World("default", "scopewright-system")
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "9")
    assert world.terminating == {"leave"}
