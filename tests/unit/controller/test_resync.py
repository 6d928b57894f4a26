"""The resync finds what the watch missed, and deletes nothing on missing information."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from scopewright.api import KINDS
from scopewright.controller.cache import Cache
from scopewright.controller.managed_objects import client_ref, server_ref
from scopewright.controller.resync import Resync, WatchMonitor
from scopewright.core.declared import Declared, parse_watched
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Existing, Ref
from scopewright.core.orphans import ALLOW_ANNOTATION, MIN_ORPHANS
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    RECORD_LABEL,
    identity_provider_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.stores.kubernetes.answers import Gone, NotFound
from scopewright.stores.kubernetes.store import CRDS, declared_path
from tests.harness.clock import START
from tests.harness.samples import NAMESPACE
from tests.unit.core.builders import client
from tests.unit.stores_kubernetes.fake_api import FakeApi, page

CLIENTS = f"GET {declared_path('OAuthClient')}"


def listing(**answers: Any) -> FakeApi:
    api = FakeApi()
    api.answer("GET /api/v1/namespaces", page("100", *(namespace(name) for name in ("leave", "payroll"))))
    for kind in KINDS:
        given = answers.get(kind, page("100"))
        api.answer(f"GET {declared_path(kind)}", *(given if isinstance(given, list) else [given]))
    return api


def raw(name: str, version: str = "50") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "leave", "uid": f"uid of {name}", "resourceVersion": version}}


def namespace(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": "9"}}


def with_records(count: int, of: str = "leave", cache: Cache | None = None) -> Cache:
    cache = cache or Cache("default", NAMESPACE)
    for n in range(count):
        at = client_ref(NAMESPACE, of, f"c{n}")
        record = ClientRecord(of, f"c{n}", f"uid of c{n}")
        cache.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: encode(record)})
    return cache


def clients(of: str, count: int) -> set[Ref]:
    return {Ref("OAuthClient", of, f"c{n}") for n in range(count)}


def resync(api: FakeApi, cache: Cache) -> Resync:
    return Resync(api.as_api(), cache, WatchMonitor())


async def test_objects_that_the_watch_missed_are_found_in_pages() -> None:
    cache = Cache("default", NAMESPACE)
    api = listing(OAuthClient=[page("100", raw("a"), more="t"), page("100", raw("b"))])
    keys = await resync(api, cache).run()
    assert keys == {Ref("OAuthClient", "leave", n) for n in "ab"}
    assert await resync(listing(OAuthClient=page("101", raw("a"), raw("b"))), cache).run() == set()


async def test_a_missed_deletion_is_found_and_a_newer_object_stays() -> None:
    cache = Cache("default", NAMESPACE)
    for name, version in (("deleted", "50"), ("new", "150")):
        obj = client("leave", name)
        cache.put(obj.model_copy(update={"metadata": obj.metadata.model_copy(update={"resource_version": version})}))
    keys = await resync(listing(), cache).run()
    assert keys == {Ref("OAuthClient", "leave", "deleted")}
    assert [ref.name for ref in cache.declared["OAuthClient"]] == ["new"]


@pytest.mark.parametrize(
    "error", [Unavailable("down"), Rejected("Forbidden", "rights withdrawn"), NotFound("", named=False), Gone("")]
)
async def test_a_failed_list_changes_nothing(error: BaseException) -> None:
    """A kind that has a CRD and is not served is only not served yet."""
    cache = with_records(3)
    cache.put(client("leave", "c0"))
    for answers in ([error], [page("100", more="t"), error]):
        api = listing(OAuthClient=answers)
        api.answer(f"GET {CRDS}/oauthclients.scopewright.dev", {})
        with pytest.raises((Unavailable, Rejected)):
            await resync(api, cache).run()
    assert len(cache.declared["OAuthClient"]) == 1
    assert not cache.deleted


async def test_objects_that_were_found_before_a_list_failed_are_returned_later() -> None:
    cache = Cache("default", NAMESPACE)
    answers = [page("100", raw("a"), more="t"), Unavailable("down"), page("100", raw("a"))]
    resyncing = resync(listing(OAuthClient=answers, ScopeGrant=[Unavailable("down"), page("100")]), cache)
    for _ in range(2):
        with pytest.raises(Unavailable):
            await resyncing.run()
    assert await resyncing.run() == {Ref("OAuthClient", "leave", "a")}
    assert await resyncing.run() == set()


async def test_without_one_crd_the_other_kinds_are_resynced(caplog: pytest.LogCaptureFixture) -> None:
    cache = with_records(3)
    cache.put(client("leave", "c0"))
    server = server_ref(NAMESPACE, "leave", "deleted")
    entries = {ENTRY: encode(ResourceServerRecord("leave", "deleted", "uid", "https://deleted.leave.svc"))}
    cache.put_managed(Existing(server, "u", "5", labels={RECORD_LABEL: "resource-server"}), entries)
    grant = {**raw("g"), "spec": {"resourceServer": "deleted", "scopes": ["read"], "to": [{"allNamespaces": True}]}}
    api = listing(OAuthClient=NotFound("", named=False), ScopeGrant=page("100", grant))
    api.answer(f"GET {CRDS}/oauthclients.scopewright.dev", NotFound("", named=True))
    resyncing = resync(api, cache)
    lost = Ref("ResourceServer", "leave", "deleted")
    assert await resyncing.run() == {Ref("ScopeGrant", "leave", "g"), lost}
    assert cache.deleted == {lost}, "a client whose CRD is missing was taken for deleted"
    assert list(cache.declared["OAuthClient"]) == [Ref("OAuthClient", "leave", "c0")]
    assert "oauthclients.scopewright.dev is missing" in caplog.text
    caplog.clear()
    await resyncing.run()
    assert not caplog.records, "logged again"
    api.answers[CLIENTS].clear()
    api.answer(CLIENTS, page("200", raw("c0", "150")))
    await resyncing.run()
    assert cache.deleted == {lost, *(Ref("OAuthClient", "leave", f"c{n}") for n in (1, 2))}


async def test_records_without_an_object_are_orphans() -> None:
    cache = with_records(3)
    cache.put(client("leave", "c0"))
    api = listing(OAuthClient=page("100", raw("c0")))
    assert await resync(api, cache).run() >= {Ref("OAuthClient", "leave", f"c{n}") for n in (1, 2)}
    assert cache.deleted == {Ref("OAuthClient", "leave", f"c{n}") for n in (1, 2)}


async def test_too_many_orphans_are_held_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = with_records(MIN_ORPHANS + 1)
    found = resync(listing(), cache)
    held = clients("leave", MIN_ORPHANS + 1)
    assert await found.run() == held, "the held records are not queued, and their clients not refused"
    assert not cache.deleted
    assert cache.held_records == held
    assert found.orphans_held == {"leave": MIN_ORPHANS + 1}
    assert "namespace leave: 21 of 21 records have no object" in caplog.text
    assert f"{ALLOW_ANNOTATION}: 'leave=21'" in caplog.text
    caplog.clear()
    await found.run()
    assert not caplog.records


async def test_records_that_are_held_already_are_not_queued_again() -> None:
    cache = with_records(MIN_ORPHANS + 1)
    for ref, record in list(cache.managed.clients.items()):
        refused = encode(replace(record, orphaned_time=START))
        cache.put_managed(Existing(ref, "u", "6", type=CLIENT_TYPE), {ENTRY: refused})
    found = resync(listing(), cache)
    assert await found.run() == set()
    assert len(cache.held_records) == MIN_ORPHANS + 1


async def test_records_of_identity_providers_are_never_held() -> None:
    """None has a credential of its own: providers that are declared again have the same users."""
    cache = Cache("default", NAMESPACE)
    names = [f"p{number}" for number in range(MIN_ORPHANS + 1)]
    for name in names:
        record = encode(IdentityProviderRecord(name, "uid", name, f"https://{name}.example"))
        at = Ref("Secret", NAMESPACE, identity_provider_record_name(name))
        cache.put_managed(Existing(at, "u", "5", type=IDENTITY_PROVIDER_TYPE), {ENTRY: record})
    api = listing()
    api.answer(f"GET /api/v1/namespaces/{NAMESPACE}", namespace(NAMESPACE))
    providers = {Ref("IdentityProvider", NAMESPACE, name) for name in names}
    assert await resync(api, cache).run() == providers
    assert cache.deleted == providers, "each is deleted once a live read has proven it"
    assert not cache.held_records


async def test_a_mass_deletion_in_one_namespace_holds_nothing_of_another() -> None:
    """As after an outage: forty clients of one team are deleted, and one of another."""
    cache = with_records(1, "payroll", with_records(40))
    found = resync(listing(), cache)
    assert await found.run() == clients("leave", 40) | clients("payroll", 1)
    assert cache.deleted == clients("payroll", 1)
    assert cache.held_records == clients("leave", 40)
    assert found.orphans_held == {"leave": 40}


async def test_orphans_of_a_namespace_that_is_proven_deleted_are_not_counted() -> None:
    cache = with_records(40, "shut", with_records(21))
    api = listing()
    api.answer("GET /api/v1/namespaces/shut", NotFound('namespaces "shut" not found', named=True))
    found = resync(api, cache)
    await found.run()
    assert cache.deleted == clients("shut", 40)
    assert cache.absent_namespaces == {"shut"}
    assert found.orphans_held == {"leave": 21}
    cache.put_namespace("shut", {}, "200")
    assert not cache.absent_namespaces, "the namespace was created again, and absent objects need a new proof"


@pytest.mark.parametrize(
    "answer",
    [Unavailable("down"), Rejected("Forbidden", "no right"), NotFound("", named=False), namespace("shut")],
)
async def test_a_namespace_that_is_only_missing_in_the_list_is_not_proven_deleted(answer: Any) -> None:
    cache = with_records(40, "shut")
    api = listing()
    api.answer("GET /api/v1/namespaces/shut", answer)
    found = resync(api, cache)
    await found.run()
    assert not cache.deleted
    assert not cache.absent_namespaces
    assert found.orphans_held == {"shut": 40}


async def test_deletions_that_the_watch_reported_are_not_held() -> None:
    cache = with_records(MIN_ORPHANS + 5)
    seen = {Ref("OAuthClient", "leave", f"c{n}") for n in range(10)}
    cache.deleted |= seen
    assert await resync(listing(), cache).run() == clients("leave", MIN_ORPHANS + 5)
    assert cache.deleted == clients("leave", MIN_ORPHANS + 5)


async def test_twenty_orphans_or_five_percent_are_deleted() -> None:
    cache = with_records(MIN_ORPHANS)
    assert len(await resync(listing(), cache).run()) == MIN_ORPHANS
    many = with_records(1000)
    for n in range(950):
        many.put(client("leave", f"c{n}"))
    here = page("100", *(raw(f"c{n}") for n in range(950)))
    found = resync(listing(OAuthClient=here), many)
    await found.run()
    assert len(many.deleted) == 50
    assert found.orphans_held == {}


async def test_orphans_are_held_although_their_objects_were_in_the_cache() -> None:
    """A list that is empty by mistake must not delete all records."""
    cache = with_records(100)
    for n in range(100):
        cache.put(client("leave", f"c{n}"))
    resyncing = resync(listing(), cache)
    await resyncing.run()
    assert not cache.deleted
    assert resyncing.orphans_held == {"leave": 100}


@pytest.mark.parametrize("stated", ["leave=30", "payroll=40, leave=30", "30"])
async def test_an_annotation_allows_a_number_of_orphans(stated: str) -> None:
    cache = with_records(30)
    issuer = Ref("ConfigMap", NAMESPACE, "scopewright-issuer")
    resyncing = resync(listing(), cache)
    for version, other in enumerate(("leave=29", "29", "payroll=30", "leave", "")):
        cache.put_managed(Existing(issuer, "u", f"5{version}", annotations={ALLOW_ANNOTATION: other}), {})
        await resyncing.run()
        assert not cache.deleted
    cache.put_managed(Existing(issuer, "u", "60", annotations={ALLOW_ANNOTATION: stated}), {})
    assert await resyncing.run() == clients("leave", 30)
    assert cache.deleted == clients("leave", 30)
    assert not cache.held_records


async def test_an_annotation_allows_orphans_of_one_namespace_only() -> None:
    cache = with_records(30, "payroll", with_records(30))
    issuer = Ref("ConfigMap", NAMESPACE, "scopewright-issuer")
    cache.put_managed(Existing(issuer, "u", "5", annotations={ALLOW_ANNOTATION: "leave=30"}), {})
    resyncing = resync(listing(), cache)
    await resyncing.run()
    assert cache.deleted == clients("leave", 30)
    assert resyncing.orphans_held == {"payroll": 30}


async def test_an_object_that_cannot_be_parsed_is_not_taken_for_deleted() -> None:
    cache = with_records(1)
    obj = client("leave", "c0")
    cache.put(obj)
    broken = {**raw("c0"), "spec": {"rotation": "often"}}
    await resync(listing(OAuthClient=page("100", broken)), cache).run()
    assert list(cache.declared["OAuthClient"]) == [Ref("OAuthClient", "leave", "c0")]


async def test_an_object_that_causes_an_unexpected_error_is_logged_and_the_others_are_listed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(manifest: Mapping[str, Any], known: Declared | None) -> Declared:
        if manifest["metadata"]["name"] == "bad":
            raise RecursionError("a bug")
        return parse_watched(manifest, known)

    monkeypatch.setattr("scopewright.controller.resync.parse_watched", failing)
    cache = Cache("default", NAMESPACE)
    await resync(listing(OAuthClient=page("100", raw("bad"), raw("good"))), cache).run()
    assert list(cache.declared["OAuthClient"]) == [Ref("OAuthClient", "leave", "good")]
    assert "OAuthClient leave/bad could not be handled" in caplog.text


async def test_a_resync_adds_and_removes_namespaces() -> None:
    cache = Cache("default", NAMESPACE)
    cache.put_namespace("old", {}, "5")
    api = listing()
    api.answers["GET /api/v1/namespaces"].clear()
    new = {"metadata": {"name": "new", "labels": {"a": "b"}, "resourceVersion": "9"}}
    api.answer("GET /api/v1/namespaces", page("100", new))
    await resync(api, cache).run()
    assert cache.namespaces == {"new": {"a": "b"}}
