"""The cache: no stale version replaces a newer one, and each change queues all objects that depend on it."""

import logging
from dataclasses import replace
from typing import Any, TypeVar, cast

import pytest

from scopewright.api import OAuthClient
from scopewright.controller import cache as cache_module
from scopewright.controller.cache import Cache, newer
from scopewright.controller.managed_objects import ManagedObjects, server_ref
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.watch_handlers import SERVICE_ACCOUNTS, WatchHandlers
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    audience_claim_name,
    client_record_name,
    key_record_name,
)
from scopewright.core.records.resource_server import AudienceClaim, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.stores import Change, ListCompleted
from tests.harness.samples import ISSUER, NAMESPACE, generated_key
from tests.unit.core.builders import NOW, client, grant, server, signing_key

ASKS: dict[str, Any] = {"access": [{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]}
D = TypeVar("D", bound=Declared)
WORKER = Ref("OAuthClient", "leave", "worker")
API = Ref("ResourceServer", "payroll", "payroll-api")
GRANT = Ref("ScopeGrant", "payroll", "grant")
TO_LEAVE: dict[str, Any] = {"resourceServer": "payroll-api", "scopes": ["read"], "to": [{"namespace": "leave"}]}
BY_LABEL = {**TO_LEAVE, "to": [{"namespaceSelector": {"matchLabels": {"team": "hr"}}}]}
SECRET = Ref("Secret", "leave", "worker-oauth")


def versioned(obj: D, version: str, **meta: Any) -> D:
    changed = obj.metadata.model_copy(update={"resource_version": version, **meta})
    return cast("D", obj.model_copy(update={"metadata": changed}))


def cache_of(*declared: Declared) -> Cache:
    cache = Cache("default", NAMESPACE)
    for obj in declared:
        cache.put(obj)
    return cache


def secret(version: str = "5", *, ref: Ref = SECRET, **more: Any) -> Existing:
    return Existing(ref, "uid", version, owner_uids=("uid-1",), **more)


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


def test_objects_of_another_installation_are_ignored() -> None:
    assert cache_of().put(client(issuer="another")) == set()


def test_a_client_queues_itself_and_the_grants_that_it_uses() -> None:
    assert cache_of(grant(**TO_LEAVE)).put(client(**ASKS)) == {WORKER, GRANT}


def test_a_client_that_stops_asking_queues_the_grants_that_it_used() -> None:
    cache = cache_of(grant(**TO_LEAVE), client(**ASKS))
    assert cache.put(versioned(client(), "2", generation=2)) == {WORKER, GRANT}
    assert cache.relations.clients_asking("payroll/payroll-api") == ()


def test_a_resource_server_and_its_grants_queue_each_other() -> None:
    cache = cache_of(grant(**TO_LEAVE))
    assert cache.put(server()) == {API, GRANT}
    assert cache.put(versioned(grant(**TO_LEAVE), "2", generation=2)) == {API, GRANT}
    assert cache.drop(GRANT, "3") == {API, GRANT}
    assert cache.relations.grants_on("payroll/payroll-api") == ()


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


def test_a_record_outside_the_issuers_namespace_is_ignored() -> None:
    cache = cache_of(client())
    at = Ref("Secret", "leave", client_record_name("leave", "worker"))
    cache.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: encode(ClientRecord("leave", "worker", "x"))})
    assert not cache.managed.clients


def test_a_key_record_queues_its_signing_key_and_the_resource_servers_that_use_it() -> None:
    cache = cache_of(signing_key(), server(), server("payroll", "other", tokens={"signingKey": "special"}))
    keys = cache.put_managed(*key(1))
    assert keys == {Ref("SigningKey", NAMESPACE, "default"), API}


def test_a_jwks_queues_each_signing_key_that_shares_it() -> None:
    cache = cache_of(signing_key(), signing_key("special"), signing_key("apart", jwks={"configMapName": "apart"}))
    jwks = Existing(Ref("ConfigMap", NAMESPACE, "scopewright-jwks"), "u", "5")
    assert cache.put_managed(jwks, {}) == {Ref("SigningKey", NAMESPACE, n) for n in ("default", "special")}


def key(serial: int, **more: Any) -> tuple[Existing, dict[str, bytes]]:
    fresh = generated_key(serial)
    record = KeyRecord(fresh.jwk["kid"], "default", "ES256", "scopewright-jwks", fresh.jwk, NOW)
    at = Ref("Secret", NAMESPACE, key_record_name(record.kid))
    return Existing(at, "u", "5", type=SIGNING_KEY_TYPE), {ENTRY: encode(record), PRIVATE_KEY_ENTRY: fresh.pem, **more}


# ManagedObjects


def managed_objects(ref: Ref, entries: dict[str, bytes], **more: Any) -> ManagedObjects:
    managed = ManagedObjects(NAMESPACE)
    managed.put(Existing(ref, "u", "5", **more), entries)
    return managed


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"\xff", encode(ClientRecord("leave", "stranger", "x")), b'{"namespace":"leave"}']
)
def test_a_malformed_record_is_ignored_and_logged_without_its_content(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    at = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))
    with caplog.at_level(logging.WARNING):
        managed = managed_objects(at, {ENTRY: data}, type=CLIENT_TYPE)
    assert not managed.clients
    assert at in managed.objects
    assert "malformed" in caplog.text
    assert "stranger" not in caplog.text


def test_a_record_that_becomes_malformed_is_removed() -> None:
    existing, entries = key(1)
    managed = ManagedObjects(NAMESPACE)
    managed.put(existing, entries)
    assert managed.key_records()
    managed.put(replace(existing, resource_version="6"), {ENTRY: b"{"})
    assert not managed.key_records()


def test_a_key_is_intact_only_with_its_own_private_key() -> None:
    managed = ManagedObjects(NAMESPACE)
    for entries, intact in (
        ({}, True),
        ({PRIVATE_KEY_ENTRY: generated_key(2).pem}, False),
        ({PRIVATE_KEY_ENTRY: b"x"}, False),
    ):
        existing, content = key(1)
        managed.put(existing, {**content, **entries})
        assert managed.keys[existing.ref].intact is intact


def test_an_audience_claim_ends_with_its_configmap() -> None:
    claim = AudienceClaim("https://a", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, audience_claim_name("https://a"))
    managed = managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "audience"})
    assert managed.claims == {"https://a": "payroll/payroll-api"}
    managed.drop(at)
    assert managed.claims == {}


def test_an_audience_claim_under_another_name_is_ignored() -> None:
    claim = AudienceClaim("https://a", "payroll", "payroll-api")
    at = Ref("ConfigMap", NAMESPACE, audience_claim_name("https://b"))
    assert managed_objects(at, {ENTRY: encode(claim)}, labels={RECORD_LABEL: "audience"}).claims == {}


def test_a_record_name_yields_the_object_that_it_belongs_to() -> None:
    managed = ManagedObjects(NAMESPACE)
    assert managed.key_of(Ref("Secret", NAMESPACE, "client.leave.worker")) == WORKER
    assert managed.key_of(Ref("ConfigMap", NAMESPACE, "client.leave.worker")) is None
    assert managed.key_of(Ref("Secret", NAMESPACE, "client.leave")) is None
    assert managed.key_of(Ref("Secret", "leave", "client.leave.worker")) is None
    api = Ref("ConfigMap", NAMESPACE, "resourceserver.payroll.api")
    assert managed.key_of(api) == Ref("ResourceServer", "payroll", "api")


# WatchHandlers and WatchMonitor


def watch_handlers(cache: Cache) -> tuple[WatchHandlers, list[tuple[Ref, float]]]:
    enqueued: list[tuple[Ref, float]] = []
    enqueue = lambda key, delay: enqueued.append((key, delay))  # noqa: E731
    return WatchHandlers(cache, Config(issuer=ISSUER), WatchMonitor(), enqueue, lambda ref, existing: None), enqueued


def test_a_list_removes_the_objects_that_it_lacks_unless_they_are_newer() -> None:
    cache = cache_of()
    handlers, _ = watch_handlers(cache)
    for name, version in (("old", "5"), ("listed", "6"), ("new", "20")):
        cache.put_managed(Existing(Ref("Secret", "leave", name), "u", version), {})
    cache.put_managed(Existing(Ref("ConfigMap", NAMESPACE, "another-kind"), "u", "5"), {})
    handlers._listed(handlers.selections[0], ListCompleted(frozenset({Ref("Secret", "leave", "listed")}), "10"))
    assert {ref.name for ref in cache.managed.objects} == {"listed", "new", "another-kind"}
    assert handlers.missing == ("ConfigMaps are not listed yet",)


def raw(version: str, **meta: Any) -> dict[str, Any]:
    given = {"name": "worker", "namespace": "leave", "uid": "uid-1", "resourceVersion": version, **meta}
    return {"apiVersion": "scopewright.dev/v1alpha1", "kind": "OAuthClient", "metadata": given, "spec": {}}


def test_an_event_queues_its_object_and_a_deletion_marks_it_deleted() -> None:
    cache = cache_of()
    handlers, enqueued = watch_handlers(cache)
    handlers.deliver("ADDED", raw("5"))
    handlers.deliver(None, raw("5"))
    assert enqueued == [(WORKER, 0.0)]
    handlers.deliver("DELETED", raw("4"))
    assert not cache.deleted
    handlers.deliver("DELETED", raw("6"))
    assert cache.deleted == {WORKER}
    handlers.deliver("ADDED", raw("7", uid="uid-2"))
    assert not cache.deleted


def test_an_object_that_cannot_be_parsed_is_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    cache = cache_of()
    handlers, enqueued = watch_handlers(cache)
    handlers.deliver("ADDED", {**raw("5"), "spec": {"rotation": "often"}})
    assert enqueued == []
    assert "OAuthClient leave/worker" in caplog.text


def test_a_namespace_event_changes_labels_and_queues_grants() -> None:
    cache = cache_of(grant(**BY_LABEL))
    handlers, enqueued = watch_handlers(cache)
    namespace = {"kind": "Namespace", "metadata": {"name": "leave", "labels": {"team": "hr"}, "resourceVersion": "3"}}
    handlers.deliver("ADDED", namespace)
    assert {key for key, _ in enqueued} == {API, GRANT}
    handlers.deliver("DELETED", {**namespace, "metadata": {"name": "leave", "resourceVersion": "4"}})
    assert cache.namespaces == {}


def test_a_client_queues_its_grants_with_a_delay() -> None:
    cache = cache_of(grant(**TO_LEAVE))
    handlers, enqueued = watch_handlers(cache)
    handlers.deliver("ADDED", {**raw("5"), "spec": ASKS})
    assert dict(enqueued)[WORKER] == 0
    assert dict(enqueued)[GRANT] > 0


def test_only_objects_with_scopewrights_label_are_followed() -> None:
    handlers, _ = watch_handlers(cache_of())
    assert [(s.kind, s.namespace, s.labels) for s in handlers.selections] == [
        ("Secret", None, {MANAGED_BY: MANAGER}),
        ("ConfigMap", NAMESPACE, {MANAGED_BY: MANAGER}),
    ]


def test_a_watch_that_does_not_deliver_a_listed_version_is_silent() -> None:
    now = 0.0
    monitor = WatchMonitor(lambda: now)
    monitor.on_delivery(WORKER, "5")
    monitor.expect(WORKER, "5")
    monitor.expect(API, "7")
    now = 29.0
    assert monitor.silent_for == 0
    now = 40.0
    monitor.expect(API, "8")
    assert monitor.silent_for == pytest.approx(10)
    monitor.on_delivery(API, "8")
    assert monitor.silent_for == 0


def test_a_deleted_object_is_no_longer_expected_from_the_watch() -> None:
    now = 0.0
    monitor = WatchMonitor(lambda: now)
    monitor.expect(WORKER, "5")
    monitor.on_deletion(WORKER)
    now = 100.0
    assert monitor.silent_for == 0


def test_the_delivery_of_an_older_version_does_not_end_the_silence() -> None:
    now = 0.0
    monitor = WatchMonitor(lambda: now)
    monitor.expect(WORKER, "9")
    monitor.on_delivery(WORKER, "8")
    now = 100.0
    assert monitor.silent_for > 0


# ServiceAccounts


ACCOUNT = Ref("ServiceAccount", "leave", "worker")
AS_ACCOUNT = {"authentication": {"method": "ServiceAccount", "serviceAccount": {"name": "worker"}}}


def change(version: str, uid: str, *, deleted: bool = False) -> Change:
    return Change(Existing(ACCOUNT, uid, version), {}, deleted)


def test_a_service_account_queues_the_clients_that_name_it() -> None:
    cache = Cache("default", NAMESPACE, in_cluster=True)
    handlers, enqueued = watch_handlers(cache)
    worker = parse_declared({**raw("5"), "spec": AS_ACCOUNT})
    assert isinstance(worker, OAuthClient)
    cache.put(worker)
    assert cache.service_account_uid(worker) == ""
    for version, uid in (("6", "one"), ("6", "one"), ("8", "two")):
        handlers._changed(change(version, uid))
        assert cache.service_account_uid(worker) == uid
    handlers._changed(change("9", "two", deleted=True))
    assert cache.service_account_uid(worker) == ""
    assert enqueued == [(WORKER, 0.0)] * 3


def test_a_list_without_a_service_account_removes_it() -> None:
    cache = Cache("default", NAMESPACE, in_cluster=True)
    handlers, _ = watch_handlers(cache)
    handlers._changed(change("6", "one"))
    handlers._listed(SERVICE_ACCOUNTS, ListCompleted(frozenset(), "10"))
    assert cache.service_accounts == {}
    assert "ServiceAccounts are not listed yet" not in handlers.missing


def test_service_accounts_of_another_cluster_and_without_a_cluster_are_not_looked_up() -> None:
    elsewhere = {"authentication": {"method": "ServiceAccount", "serviceAccount": {
        "name": "worker", "cluster": "eu-1", "uid": "5c9a"}}}  # fmt: skip
    for spec, in_cluster in ((elsewhere, True), (AS_ACCOUNT, False)):
        cache = Cache("default", NAMESPACE, in_cluster=in_cluster)
        handlers, enqueued = watch_handlers(cache)
        worker = parse_declared({**raw("5"), "spec": spec})
        assert isinstance(worker, OAuthClient)
        cache.put(worker)
        handlers._changed(change("6", "one"))
        assert cache.service_account_uid(worker) is None
        assert enqueued == []
        assert (SERVICE_ACCOUNTS in handlers.selections) == in_cluster
