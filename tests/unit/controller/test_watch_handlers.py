"""Events and lists of the watches: they change the cache, queue objects, and show whether a watch is silent."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from scopewright.api import OAuthClient
from scopewright.controller.cache import Cache
from scopewright.controller.index import Keys
from scopewright.controller.resync import WatchMonitor
from scopewright.controller.watch_handlers import SERVICE_ACCOUNTS
from scopewright.core.declared import parse_declared
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.stores import Change, Entries, ListCompleted, Selection, Store
from tests.harness.samples import NAMESPACE
from tests.unit.controller.cache_objects import (
    API,
    ASKS,
    BY_LABEL,
    GRANT,
    TO_LEAVE,
    WORKER,
    cache_of,
    raw,
    watch_handlers,
)
from tests.unit.core.builders import grant


def test_a_list_removes_the_objects_that_it_lacks_unless_they_are_newer() -> None:
    cache = cache_of()
    handlers, _ = watch_handlers(cache)
    for name, version in (("old", "5"), ("listed", "6"), ("new", "20")):
        cache.put_managed(Existing(Ref("Secret", "leave", name), "u", version), {})
    cache.put_managed(Existing(Ref("ConfigMap", NAMESPACE, "another-kind"), "u", "5"), {})
    handlers._listed(handlers.selections[0], ListCompleted(frozenset({Ref("Secret", "leave", "listed")}), "10"))
    assert {ref.name for ref in cache.managed.objects} == {"listed", "new", "another-kind"}
    assert handlers.missing == ("ConfigMaps are not listed yet",)


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


async def test_a_change_that_causes_an_unexpected_error_is_logged_and_the_next_is_handled(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = cache_of()
    handlers, _ = watch_handlers(cache)
    bad, good = (Existing(Ref("Secret", "leave", name), "u", "5") for name in ("bad", "good"))
    put = cache.put_managed

    def failing(existing: Existing, entries: Entries) -> Keys:
        if existing is bad:
            raise RecursionError("a bug")
        return put(existing, entries)

    class Followed:
        async def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
            for change in (Change(bad, {}), Change(good, {}), ListCompleted(frozenset({bad.ref, good.ref}), "6")):
                yield change

    monkeypatch.setattr(cache, "put_managed", failing)
    await handlers.follow(cast("Store", Followed()), handlers.selections[0])
    assert set(cache.managed.objects) == {good.ref}
    assert "a change of Secret leave/bad could not be handled" in caplog.text
    assert "RecursionError: a bug" in caplog.text


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
