"""Into a namespace that is being deleted nothing is written; what is withdrawn is withdrawn all the same."""

import logging

import pytest

from scopewright.controller.cache import Cache
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from tests.harness.operator import OperatorHarness
from tests.unit.core.builders import client

WORKER = ("OAuthClient", "leave", "worker")
LINE = "namespace leave is being deleted"


def in_leave(harness: OperatorHarness, before: int) -> list[str]:
    """What was written into namespace leave since then."""
    return [w for w in harness.store.writes[before:] if " leave/" in w]


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply(*WORKER)
    harness.settle()
    return harness


def test_a_secret_in_a_terminating_namespace_is_not_created_again(
    harness: OperatorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    harness.cache.put_namespace("leave", {}, "100", terminating=True)
    harness.cache.put_namespace("leave", {}, "101", terminating=True)
    harness.store.delete_by_hand(harness.secret())
    before = len(harness.store.writes)
    for _ in range(3):
        harness.reconcile_all()
    assert in_leave(harness, before) == []
    assert caplog.text.count(LINE) == 1
    assert "WARNING" not in caplog.text


def test_a_client_in_a_terminating_namespace_is_still_disabled(harness: OperatorHarness) -> None:
    harness.cache.put_namespace("leave", {}, "100", terminating=True)
    harness.apply(*WORKER, {"disabled": True})
    before = len(harness.store.writes)
    harness.reconcile_all()
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.disabled
    assert in_leave(harness, before) == []


def test_without_a_watch_of_namespaces_the_first_refused_write_marks_the_namespace(
    harness: OperatorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    harness.store.delete_by_hand(harness.secret())
    harness.store.fail(Rejected("NamespaceTerminating", "it is being terminated"), at=1)
    harness.reconcile_all()
    before = len(harness.store.writes)
    harness.reconcile_all()
    harness.reconcile_all()
    assert in_leave(harness, before) == []
    assert caplog.text.count(LINE) == 1
    assert "WARNING" not in caplog.text
    # Made again, and with it something is declared there.
    harness.apply("OAuthClient", "leave", "another")
    harness.settle()
    assert harness.condition(harness.apply("OAuthClient", "leave", "another")) == "True Provisioned"


def test_a_deleted_namespace_is_no_longer_terminating() -> None:
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "1", terminating=True)
    assert world.terminating == {"leave"}
    world.put_namespace("leave", None, "2")
    assert world.terminating == set()


def test_a_late_refusal_is_corrected_by_the_next_list_of_namespaces() -> None:
    harness = OperatorHarness()
    worker = harness.apply(*WORKER)
    harness.settle()
    harness.cache.put_namespace("leave", {}, "10")
    harness.cache.namespace_terminates("leave", harness.cache.usable("leave"))
    assert harness.cache.put_namespace("leave", {}, "9") == set()
    assert harness.cache.terminating == {"leave"}, "an earlier state proves nothing"
    assert harness.cache.put_namespace("leave", {}, "10") == {worker}
    assert harness.cache.terminating == set()


def test_a_namespace_that_the_next_list_shows_terminating_stays_marked() -> None:
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "10", terminating=True)
    world.put_namespace("leave", {}, "9")
    assert world.terminating == {"leave"}


def test_objects_are_queued_when_their_namespace_was_created_again() -> None:
    """Also where nothing told of its end, and its labels are what they were."""
    world = Cache("default", "scopewright-system")
    world.put(client())
    world.put_namespace("leave", {}, "100", terminating=True)
    assert world.put_namespace("leave", {}, "102") == {Ref(*WORKER)}
    assert world.put_namespace("leave", {}, "103") == set()


def test_objects_of_a_new_namespace_are_queued_when_the_cache_learns_of_it() -> None:
    world = Cache("default", "scopewright-system")
    world.put_namespace("leave", {}, "100", terminating=True)
    world.put(client())
    assert world.put_namespace("leave", None, "101") == set()
    assert world.terminating == {"leave"}, "its status was not written, so somebody must come back to it"
    assert world.put_namespace("leave", {}, "102") == {Ref(*WORKER)}


def test_a_refusal_that_is_older_than_the_namespace_does_not_mark_it() -> None:
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


def test_without_a_watch_of_namespaces_a_new_uid_ends_the_mark() -> None:
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
