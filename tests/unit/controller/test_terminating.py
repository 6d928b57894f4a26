"""Into a namespace that is being deleted nothing is written; what is withdrawn is withdrawn all the same."""

import logging

import pytest

from scopewright.controller.cache import Cache
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from tests.unit.controller.house import House
from tests.unit.core.builders import client

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
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "1", terminating=True)
    assert world.terminating == {"leave"}
    world.put_namespace("leave", None, "2")
    assert world.terminating == set()


def test_a_late_refusal_does_not_mark_a_namespace_that_the_next_list_shows_alive() -> None:
    house = House()
    worker = house.apply(*WORKER)
    house.settle()
    house.world.put_namespace("leave", {}, "10")
    house.world.namespace_terminates("leave", house.world.usable("leave"))
    assert house.world.put_namespace("leave", {}, "9") == set()
    assert house.world.terminating == {"leave"}, "an earlier state proves nothing"
    assert house.world.put_namespace("leave", {}, "10") == {worker}
    assert house.world.terminating == set()


def test_a_namespace_that_the_next_list_shows_deleting_stays_marked() -> None:
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "9")
    assert world.terminating == {"leave"}


def test_what_was_held_back_is_looked_at_when_the_namespace_is_there_again() -> None:
    """Also where nothing told of its end, and its labels are what they were."""
    world = Cache("default", "scopewright-system")
    world.put(client())
    world.put_namespace("leave", {}, "100", terminating=True)
    assert world.put_namespace("leave", {}, "102") == {Ref(*WORKER)}
    assert world.put_namespace("leave", {}, "103") == set()


def test_objects_that_came_before_the_news_of_the_namespace_are_looked_at_with_it() -> None:
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "100", terminating=True)
    world.put(client())
    assert world.put_namespace("leave", None, "101") == set()
    assert world.terminating == {"leave"}, "its status was not written, so somebody must come back to it"
    assert world.put_namespace("leave", {}, "102") == {Ref(*WORKER)}


def test_a_refusal_that_is_older_than_the_namespace_says_nothing_of_it() -> None:
    """It was made again before the answer to a write into the one before came."""
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "100")
    asked = world.usable("leave")
    world.put_namespace("leave", None, "101")
    world.put_namespace("leave", {}, "102")
    world.namespace_terminates("leave", asked)
    assert world.terminating == set()
    world.namespace_terminates("leave", world.usable("leave"))
    assert world.terminating == {"leave"}


def test_where_namespaces_are_not_watched_another_uid_shows_that_one_is_new() -> None:
    world = Cache("default", "scopewright-system")
    world.put(client())
    world.put(client(name="another"))
    asked = world.usable("leave")
    world.namespace_terminates("leave", asked)
    successor = client(uid="uid-2")
    later = successor.metadata.model_copy(update={"resource_version": "999"})
    assert world.put(successor.model_copy(update={"metadata": later})) == {
        Ref(*WORKER),
        Ref("OAuthClient", "leave", "another"),
    }
    world.namespace_terminates("leave", asked)
    assert world.terminating == set()
