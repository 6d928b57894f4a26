"""The operator writes nothing into a terminating namespace, and still withdraws access in its records."""

import logging

import pytest

from scopewright.controller.cache import Cache
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from tests.harness.operator import OperatorHarness
from tests.harness.samples import NAMESPACE
from tests.unit.core.builders import client

WORKER = ("OAuthClient", "leave", "worker")
LOG_LINE = "namespace leave is being deleted"


def writes_in_leave(harness: OperatorHarness, before: int) -> list[str]:
    """Writes into namespace leave since that number of writes."""
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
    harness.store.delete_by_hand(harness.secret_ref())
    before = len(harness.store.writes)
    for _ in range(3):
        harness.reconcile_all()
    assert writes_in_leave(harness, before) == []
    assert caplog.text.count(LOG_LINE) == 1
    assert "WARNING" not in caplog.text


def test_a_client_in_a_terminating_namespace_is_still_disabled(harness: OperatorHarness) -> None:
    harness.cache.put_namespace("leave", {}, "100", terminating=True)
    harness.apply(*WORKER, {"disabled": True})
    before = len(harness.store.writes)
    harness.reconcile_all()
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.disabled
    assert writes_in_leave(harness, before) == []


def test_without_a_watch_of_namespaces_the_first_refused_write_marks_the_namespace(
    harness: OperatorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    harness.store.delete_by_hand(harness.secret_ref())
    harness.store.fail(Rejected("NamespaceTerminating", "it is being terminated"), at=1)
    harness.reconcile_all()
    before = len(harness.store.writes)
    harness.reconcile_all()
    harness.reconcile_all()
    assert writes_in_leave(harness, before) == []
    assert caplog.text.count(LOG_LINE) == 1
    assert "WARNING" not in caplog.text
    # The namespace was created again, and another object is declared in it.
    harness.apply("OAuthClient", "leave", "another")
    harness.settle()
    assert harness.condition(harness.apply("OAuthClient", "leave", "another")) == "True Provisioned"


def test_a_deleted_namespace_is_no_longer_terminating() -> None:
    cache = Cache("default", NAMESPACE)
    cache.put_namespace("leave", {}, "1", terminating=True)
    assert cache.terminating == {"leave"}
    cache.put_namespace("leave", None, "2")
    assert cache.terminating == set()


def test_a_late_refusal_is_corrected_by_the_next_list_of_namespaces() -> None:
    harness = OperatorHarness()
    worker = harness.apply(*WORKER)
    harness.settle()
    harness.cache.put_namespace("leave", {}, "10")
    harness.cache.namespace_terminates("leave", harness.cache.namespace_epoch("leave"))
    assert harness.cache.put_namespace("leave", {}, "9") == set()
    assert harness.cache.terminating == {"leave"}, "an earlier state proves nothing"
    assert harness.cache.put_namespace("leave", {}, "10") == {worker}
    assert harness.cache.terminating == set()


def test_a_namespace_that_the_next_list_shows_terminating_stays_marked() -> None:
    cache = Cache("default", NAMESPACE)
    cache.put_namespace("leave", {}, "10", terminating=True)
    cache.put_namespace("leave", {}, "10", terminating=True)
    cache.put_namespace("leave", {}, "9")
    assert cache.terminating == {"leave"}


def test_objects_are_queued_when_their_namespace_was_created_again() -> None:
    """Also where its deletion was never reported, and its labels have not changed."""
    cache = Cache("default", NAMESPACE)
    cache.put(client())
    cache.put_namespace("leave", {}, "100", terminating=True)
    assert cache.put_namespace("leave", {}, "102") == {Ref(*WORKER)}
    assert cache.put_namespace("leave", {}, "103") == set()


def test_objects_of_a_new_namespace_are_queued_when_the_cache_learns_of_it() -> None:
    cache = Cache("default", NAMESPACE)
    cache.put_namespace("leave", {}, "100", terminating=True)
    cache.put(client())
    assert cache.put_namespace("leave", None, "101") == set()
    assert cache.terminating == {"leave"}, "the object has no status yet, and must be queued later"
    assert cache.put_namespace("leave", {}, "102") == {Ref(*WORKER)}


def test_a_refusal_that_is_older_than_the_namespace_does_not_mark_it() -> None:
    """The namespace was created again before the answer to a write into its predecessor."""
    cache = Cache("default", NAMESPACE)
    cache.put_namespace("leave", {}, "100")
    epoch = cache.namespace_epoch("leave")
    cache.put_namespace("leave", None, "101")
    cache.put_namespace("leave", {}, "102")
    cache.namespace_terminates("leave", epoch)
    assert cache.terminating == set()
    cache.namespace_terminates("leave", cache.namespace_epoch("leave"))
    assert cache.terminating == {"leave"}


def test_without_a_watch_of_namespaces_a_new_uid_ends_the_mark() -> None:
    cache = Cache("default", NAMESPACE)
    cache.put(client())
    cache.put(client(name="another"))
    epoch = cache.namespace_epoch("leave")
    cache.namespace_terminates("leave", epoch)
    successor = client(uid="uid-2")
    later = successor.metadata.model_copy(update={"resource_version": "999"})
    assert cache.put(successor.model_copy(update={"metadata": later})) == {
        Ref(*WORKER),
        Ref("OAuthClient", "leave", "another"),
    }
    cache.namespace_terminates("leave", epoch)
    assert cache.terminating == set()
