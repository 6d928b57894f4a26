"""The cache: no stale version replaces a newer one, and each change queues all objects that depend on it."""

import pytest

from scopewright.api import OAuthClient
from scopewright.controller import cache as cache_module
from scopewright.controller.cache import MAX_DELETIONS_REMEMBERED, newer
from scopewright.controller.managed_objects import server_ref
from scopewright.core.objects import Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    RECORD_LABEL,
    client_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.stores import ListCompleted
from tests.harness.samples import NAMESPACE
from tests.unit.controller.cache_objects import (
    API,
    ASKS,
    BY_LABEL,
    GRANT,
    SECRET,
    TO_LEAVE,
    WORKER,
    cache_of,
    key_record_object,
    secret,
    versioned,
    watch_handlers,
)
from tests.unit.core.builders import client, grant, server, signing_key


@pytest.mark.parametrize(
    ("version", "known", "expected"),
    [("9", "10", False), ("10", "9", True), ("9", "9", False), ("a", "b", True), ("a", "a", False), ("9", None, True),
     ("9", "", True), (None, "9", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers_where_both_are_numbers(
    version: str | None, known: str | None, expected: bool
) -> None:
    assert newer(version, known) is expected


def test_a_stale_version_changes_nothing() -> None:
    cache = cache_of(versioned(client(disabled=True), "10"))
    assert cache.put(versioned(client(), "9", generation=7)) == set()
    known = cache.get(OAuthClient, "leave", "worker")
    assert known is not None
    assert known.spec.disabled


def test_a_stale_deletion_removes_nothing_and_a_stale_object_does_not_come_back() -> None:
    cache = cache_of(versioned(client(), "10"))
    assert cache.drop(WORKER, "9") == set()
    assert cache.drop(WORKER, "11") >= {WORKER}
    assert cache.put(versioned(client(), "10")) == set()
    assert cache.get(OAuthClient, "leave", "worker") is None
    assert cache.put(versioned(client(uid="uid-2"), "12")) == {WORKER}


def test_events_that_come_again_bring_no_object_back() -> None:
    cache = cache_of(versioned(client(), "1"))
    for _ in range(2):
        cache.drop(WORKER, "2")
        cache.put(versioned(client(uid="uid-2"), "3"))
        cache.drop(WORKER, "4")
    cache.drop(WORKER, "2")
    assert cache.put(versioned(client(uid="uid-2"), "3")) == set()
    assert cache.get(OAuthClient, "leave", "worker") is None
    assert cache.put(versioned(client(uid="uid-3"), "5")) == {WORKER}


def test_objects_of_another_installation_are_ignored() -> None:
    assert cache_of().put(client(issuer="another")) == set()


def test_a_client_queues_itself_and_the_grants_that_it_uses() -> None:
    assert cache_of(grant(**TO_LEAVE)).put(client(**ASKS)) == {WORKER, GRANT}


def test_a_client_that_stops_asking_queues_the_grants_that_it_used() -> None:
    cache = cache_of(grant(**TO_LEAVE), client(**ASKS))
    assert cache.put(versioned(client(), "2", generation=2)) == {WORKER, GRANT}
    assert cache.relations.clients_requesting(API) == ()


def test_a_resource_server_and_its_grants_queue_each_other() -> None:
    cache = cache_of(grant(**TO_LEAVE))
    assert cache.put(server()) == {API, GRANT}
    assert cache.put(versioned(grant(**TO_LEAVE), "2", generation=2)) == {API, GRANT}
    assert cache.drop(GRANT, "3") == {API, GRANT}
    assert cache.relations.grants_on(API) == ()


def test_a_grant_that_changes_its_resource_server_queues_both() -> None:
    cache = cache_of(grant(**TO_LEAVE))
    moved = versioned(grant(**{**TO_LEAVE, "resourceServer": "other"}), "2", generation=2)
    assert cache.put(moved) == {API, GRANT, Ref("ResourceServer", "payroll", "other")}


def test_changed_labels_of_a_namespace_queue_the_grants_that_select_by_label() -> None:
    cache = cache_of(grant(**BY_LABEL))
    assert cache.put_namespace("leave", {"team": "hr"}, "5") == {API, GRANT}
    assert cache.put_namespace("leave", {"team": "hr"}, "6") == set()
    assert cache.put_namespace("leave", {}, "4") == set(), "an older version"
    assert cache.put_namespace("leave", None, "7") == {API, GRANT}
    assert cache_of(grant(**TO_LEAVE)).put_namespace("leave", {"a": "b"}, "5") == set()


def test_changed_labels_of_a_namespace_queue_the_grants_to_users_through_clients_selected_by_label() -> None:
    through = BY_LABEL["to"][0]
    cache = cache_of(grant(**{**TO_LEAVE, "toUsers": [{"allUsers": True, "through": through}]}))
    assert cache.put_namespace("hr", {"team": "hr"}, "5") == {API, GRANT}


def test_a_status_that_the_operator_wrote_queues_nothing() -> None:
    cache = cache_of(client())
    written = client().model_validate(
        {**versioned(client(), "2").model_dump(by_alias=True), "status": {"observedGeneration": 1}}
    )
    first = cache.put(written)
    assert cache.put(versioned(written, "3")) == set()
    assert first <= {WORKER}


def test_changed_annotations_and_a_new_uid_queue_the_object() -> None:
    cache = cache_of(client())
    assert cache.put(versioned(client(), "2", annotations={"scopewright.dev/rotate": "1"})) == {WORKER}
    assert cache.put(versioned(client(uid="uid-2"), "3", generation=1)) == {WORKER}


def test_a_secret_queues_the_client_that_names_it_and_its_owner() -> None:
    cache = cache_of(client())
    assert cache.put_managed(secret(), {}) == {WORKER}
    other = Ref("Secret", "leave", "former")
    assert cache.put_managed(secret(ref=other), {}) == {WORKER}
    assert cache.drop_managed(other) == {WORKER}
    assert [s.ref for s in cache.managed.of_client(client())] == [SECRET]


def test_a_stale_version_of_a_secret_changes_nothing() -> None:
    cache = cache_of(client())
    cache.put_managed(secret("10"), {})
    assert cache.put_managed(secret("9"), {}) == set()
    assert cache.drop_managed(SECRET, "9") == set()
    assert cache.drop_managed(SECRET, "11") == {WORKER}


def test_an_answer_that_is_older_than_a_deletion_does_not_bring_the_object_back() -> None:
    cache = cache_of(client())
    cache.put_managed(secret("10"), {})
    assert cache.drop_managed(SECRET, "12") == {WORKER}
    assert cache.put_managed(secret("11"), {}) == set(), "the answer to a write before the deletion"
    assert cache.drop_managed(SECRET, "10") == set(), "an older deletion"
    assert cache.put_managed(secret("11"), {}) == set()
    assert cache.put_managed(secret("12"), {}) == {WORKER}, (
        "an object that lost its label is deleted for the watch, and a read finds it"
    )
    assert cache.put_managed(secret("13"), {}) == {WORKER}


def test_an_answer_that_is_older_than_a_list_does_not_bring_the_object_back() -> None:
    """The watch was interrupted when the object was deleted, so only the list shows the deletion."""
    cache = cache_of(client())
    handlers, _ = watch_handlers(cache)
    handlers._listed(handlers.selections[0], ListCompleted(frozenset(), "12"))
    assert cache.wrote(secret("11"), {}) == set(), "the answer to a write before the deletion"
    assert cache.put_managed(secret("11"), {}) == {WORKER}, (
        "an object without the label is in no list, and a read finds it"
    )
    assert cache.wrote(secret("13"), {}) == {WORKER}
    assert cache_of(client()).wrote(secret("11"), {}) == {WORKER}, "there was no list yet"


def test_the_answer_to_a_status_does_not_bring_a_deleted_object_back() -> None:
    """Also after a list without the object, when its deletion is no longer remembered."""
    cache = cache_of(versioned(client(), "10"))
    cache.drop(WORKER, "12")
    cache.listed("OAuthClient", "12")
    cache.wrote_status(versioned(client(), "11"))
    assert not list(cache.all(OAuthClient))
    cache.put(versioned(client(uid="uid-2"), "13"))
    cache.wrote_status(versioned(client(), "11"))
    assert [c.uid for c in cache.all(OAuthClient)] == ["uid-2"]
    cache.wrote_status(versioned(client(uid="uid-2"), "14"))
    assert [c.metadata.resource_version for c in cache.all(OAuthClient)] == ["14"]


def test_an_event_that_is_older_than_a_list_does_not_bring_the_object_back() -> None:
    """Deleted while no replica led: the first list lacks the object, and the watch may deliver its old version late."""
    cache = cache_of()
    cache.listed("OAuthClient", "12")
    handlers, enqueued = watch_handlers(cache)
    handlers.deliver(None, {"kind": "OAuthClient", **versioned(client(), "11").to_dict()})
    assert not list(cache.all(OAuthClient))
    assert not enqueued
    assert cache.put(versioned(client(uid="uid-2"), "13")) == {WORKER}, "the object was created again"
    assert cache.put(versioned(server(), "11")), "the list was of another kind"


def test_a_bounded_number_of_deletions_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "MAX_DELETIONS_REMEMBERED", 2)
    cache = cache_of(client())
    cache.drop_managed(SECRET, "12")
    for name in ("a", "b"):
        cache.drop_managed(Ref("Secret", "leave", name), "13")
    assert cache.put_managed(secret("11"), {}) == {WORKER}


def test_a_resource_server_record_queues_its_resource_server_and_the_clients_that_ask() -> None:
    cache = cache_of(client(**ASKS), server())
    record = ResourceServerRecord("payroll", "payroll-api", "uid-1", "https://a")
    at = server_ref(NAMESPACE, "payroll", "payroll-api")
    existing = Existing(at, "u", "5", labels={RECORD_LABEL: "resource-server"})
    assert cache.put_managed(existing, {ENTRY: encode(record)}) == {API, WORKER}
    assert cache.managed.servers["payroll/payroll-api"] == record


def test_deleted_objects_without_a_record_are_forgotten_once_they_are_many() -> None:
    cache = cache_of()
    at = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))
    record = encode(ClientRecord("leave", "worker", "x"))
    cache.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: record})
    cache.mark_deleted(WORKER)
    for number in range(3 * MAX_DELETIONS_REMEMBERED):
        cache.mark_deleted(Ref("OAuthClient", "leave", f"c{number}"))
    assert len(cache.deleted) <= MAX_DELETIONS_REMEMBERED
    assert WORKER in cache.deleted


def test_a_record_outside_the_issuers_namespace_is_ignored() -> None:
    cache = cache_of(client())
    at = Ref("Secret", "leave", client_record_name("leave", "worker"))
    cache.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: encode(ClientRecord("leave", "worker", "x"))})
    assert not cache.managed.clients


def test_a_key_record_queues_its_signing_key_and_the_resource_servers_that_use_it() -> None:
    cache = cache_of(signing_key(), server(), server("payroll", "other", tokens={"signingKey": "special"}))
    keys = cache.put_managed(*key_record_object(1))
    assert keys == {Ref("SigningKey", NAMESPACE, "default"), API}


def test_a_jwks_queues_each_signing_key_that_shares_it() -> None:
    cache = cache_of(signing_key(), signing_key("special"), signing_key("apart", jwks={"configMapName": "apart"}))
    jwks = Existing(Ref("ConfigMap", NAMESPACE, "scopewright-jwks"), "u", "5")
    assert cache.put_managed(jwks, {}) == {Ref("SigningKey", NAMESPACE, n) for n in ("default", "special")}
