"""An operator that watches some namespaces reads only those, and deletes nothing in the others."""

from typing import Any

import pytest

from scopewright.api import KINDS
from scopewright.controller.cache import Cache
from scopewright.controller.managed_objects import client_ref
from scopewright.controller.preflight import rights
from scopewright.controller.resync import Resync, WatchMonitor
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.grant_status import GrantView, plan_grant
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import encode
from scopewright.core.records.names import CLIENT_TYPE, ENTRY
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.stores import ListCompleted
from scopewright.stores.kubernetes.store import declared_path
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.core.builders import NOW, client, grant, server
from tests.unit.stores_kubernetes.fake_api import FakeApi, page

CONFIG = Config(issuer=ISSUER, namespace=NAMESPACE, watch_namespaces=("leave", "payroll"))


def raw(namespace: str, name: str, version: str = "50") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "uid": f"of {name}", "resourceVersion": version}}


def listing(**clients: Any) -> FakeApi:
    """The watched namespaces can be listed, and neither Namespaces nor the whole cluster."""
    api = FakeApi()
    for kind in KINDS:
        for namespace in CONFIG.watch_targets:
            found = clients.get(namespace or "", page("100")) if kind == "OAuthClient" else page("100")
            api.answer(f"GET {declared_path(kind, namespace)}", found)
    return api


def resync(api: FakeApi, cache: Cache) -> Resync:
    return Resync(api.as_api(), cache, WatchMonitor(), CONFIG.watch_targets)


def put_records(cache: Cache, *namespaces: str) -> None:
    for namespace in namespaces:
        at = client_ref(NAMESPACE, namespace, "worker")
        record = ClientRecord(namespace, "worker", "uid")
        cache.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: encode(record)})


def test_the_operators_own_namespace_is_always_watched() -> None:
    assert set(CONFIG.watch_targets) == {NAMESPACE, "leave", "payroll"}
    assert Config(issuer=ISSUER).watch_targets == (None,)


def test_outside_its_namespaces_the_operator_needs_rights_only_for_crds_and_signing_keys() -> None:
    needed = rights(CONFIG)
    elsewhere = {(r[1], r[2]) for r in needed if r[3] not in CONFIG.watch_targets}
    assert elsewhere == {("customresourcedefinitions", "get"), ("signingkeys", "list")}
    assert {r[3] for r in needed if r[1] == "secrets"} == set(CONFIG.watch_targets)


async def test_objects_that_the_watch_missed_are_found_in_each_namespace() -> None:
    cache = Cache("default", NAMESPACE)
    found = await resync(
        listing(leave=page("100", raw("leave", "a")), payroll=page("101", raw("payroll", "b"))), cache
    ).run()
    assert found == {Ref("OAuthClient", "leave", "a"), Ref("OAuthClient", "payroll", "b")}
    deleted = await resync(listing(leave=page("102", raw("leave", "a"))), cache).run()
    assert deleted == {Ref("OAuthClient", "payroll", "b")}


async def test_the_record_of_a_client_outside_the_watched_namespaces_is_not_an_orphan() -> None:
    """Its namespace was watched before, or will be: the deletion of the client is not proven."""
    cache = Cache("default", NAMESPACE)
    put_records(cache, "leave", "elsewhere")
    resyncing = resync(listing(), cache)
    assert await resyncing.run() == {Ref("OAuthClient", "leave", "worker")}
    put_records(cache, *(f"elsewhere-{n}" for n in range(50)))
    await resyncing.run()
    assert resyncing.orphans_held == {}


def test_a_list_of_one_namespace_drops_nothing_of_another() -> None:
    cache = Cache("default", NAMESPACE)
    handlers = WatchHandlers(cache, CONFIG, WatchMonitor(), lambda key, delay: None, lambda ref, existing: None)
    secrets = [Ref("Secret", namespace, "worker-oauth") for namespace in ("leave", "payroll")]
    for ref in secrets:
        cache.put_managed(Existing(ref, "u", "5", labels={MANAGED_BY: MANAGER}), {})
    [leave] = [s for s in handlers.selections if s.namespace == "leave"]
    handlers._listed(leave, ListCompleted(frozenset(), "100"))
    assert set(cache.managed.objects) == {Ref("Secret", "payroll", "worker-oauth")}
    assert handlers.missing, "all are listed after one of several lists"


@pytest.mark.parametrize(("follows", "reason"), [(True, "InForce"), (False, "LabelsNotFollowed")])
def test_a_grant_by_labels_that_are_not_watched_reports_it(follows: bool, reason: str) -> None:
    asked = {"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}
    selecting = [{"namespaceSelector": {"matchLabels": {"team": "hr"}}}, {"namespace": "leave"}]
    held = ResolvedGrant(("read",), namespaces=("leave",))
    view = GrantView(
        grant=grant(resourceServer="payroll-api", scopes=["read"], to=selecting),
        server=server(scopes=[{"name": "read"}]),
        record=ResourceServerRecord("payroll", "payroll-api", "uid-1", "https://a", ("read",), grants=(held,)),
        clients=(client("leave", "a", access=[asked]),),
        namespaces={},
        now=NOW,
        reads_labels=follows,
    )
    status = plan_grant(view).status
    assert status is not None
    assert status["conditions"][0]["reason"] == reason
    assert status["grantedTo"] == 1, "the grant to a namespace by name does not hold"


def test_users_through_clients_by_labels_that_are_not_watched_are_reported_too() -> None:
    through = {"namespaceSelector": {"matchLabels": {"team": "hr"}}}
    view = GrantView(
        grant=grant(resourceServer="payroll-api", scopes=["read"], toUsers=[{"allUsers": True, "through": through}]),
        server=server(scopes=[{"name": "read"}]),
        record=ResourceServerRecord("payroll", "payroll-api", "uid-1", "https://a", ("read",)),
        clients=(),
        namespaces={},
        now=NOW,
        reads_labels=False,
    )
    status = plan_grant(view).status
    assert status is not None
    assert status["conditions"][0]["reason"] == "LabelsNotFollowed"
