"""An operator of some namespaces looks into those, and concludes nothing about the others."""

from typing import Any

import pytest

from scopewright.api import KINDS
from scopewright.controller.cache import Cache
from scopewright.controller.preflight import rights
from scopewright.controller.resync import Resync, WatchMonitor
from scopewright.controller.watch_handlers import WatchHandlers
from scopewright.core.config import Config
from scopewright.core.grants import GrantView, plan_grant
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
    """Of Namespaces, and of anything in all of them, nobody may ask."""
    api = FakeApi()
    for kind in KINDS:
        for namespace in CONFIG.watched:
            found = clients.get(namespace or "", page("100")) if kind == "OAuthClient" else page("100")
            api.answer(f"GET {declared_path(kind, namespace)}", found)
    return api


def resync(api: FakeApi, world: Cache) -> Resync:
    return Resync(api.as_api(), world, WatchMonitor(), CONFIG.watched)


def recorded(world: Cache, *namespaces: str) -> None:
    for namespace in namespaces:
        at = world.record_of_client(namespace, "worker")
        record = ClientRecord(namespace, "worker", "uid")
        world.put_managed(Existing(at, "u", "5", type=CLIENT_TYPE), {ENTRY: encode(record)})


def test_the_operators_own_namespace_is_always_watched() -> None:
    assert set(CONFIG.watched) == {NAMESPACE, "leave", "payroll"}
    assert Config(issuer=ISSUER).watched == (None,)


def test_outside_its_namespaces_the_operator_needs_rights_only_for_crds_and_signing_keys() -> None:
    needed = rights(CONFIG)
    elsewhere = {(r[1], r[2]) for r in needed if r[3] not in CONFIG.watched}
    assert elsewhere == {("customresourcedefinitions", "get"), ("signingkeys", "list")}
    assert {r[3] for r in needed if r[1] == "secrets"} == set(CONFIG.watched)


async def test_objects_that_the_watch_missed_are_found_in_each_namespace() -> None:
    world = Cache("default", NAMESPACE)
    found = await resync(
        listing(leave=page("100", raw("leave", "a")), payroll=page("101", raw("payroll", "b"))), world
    ).run()
    assert found == {Ref("OAuthClient", "leave", "a"), Ref("OAuthClient", "payroll", "b")}
    gone = await resync(listing(leave=page("102", raw("leave", "a"))), world).run()
    assert gone == {Ref("OAuthClient", "payroll", "b")}


async def test_the_record_of_a_client_outside_the_watched_namespaces_is_not_an_orphan() -> None:
    """It was watched before, or will be: nobody has seen that it is gone."""
    world = Cache("default", NAMESPACE)
    recorded(world, "leave", "elsewhere")
    comparing = resync(listing(), world)
    assert await comparing.run() == {Ref("OAuthClient", "leave", "worker")}
    recorded(world, *(f"elsewhere-{n}" for n in range(50)))
    await comparing.run()
    assert comparing.orphans_held == {}


def test_a_list_of_one_namespace_drops_nothing_of_another() -> None:
    world = Cache("default", NAMESPACE)
    caches = WatchHandlers(world, CONFIG, WatchMonitor(), lambda key, delay: None, lambda ref, existing: None)
    secrets = [Ref("Secret", namespace, "worker-oauth") for namespace in ("leave", "payroll")]
    for ref in secrets:
        world.put_managed(Existing(ref, "u", "5", labels={MANAGED_BY: MANAGER}), {})
    [leave] = [s for s in caches.selections if s.namespace == "leave"]
    caches._snapshot(leave, ListCompleted(frozenset(), "100"))
    assert set(world.managed.objects) == {Ref("Secret", "payroll", "worker-oauth")}
    assert caches.missing, "one list of several is not all of them"


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
    assert status["grantedTo"] == 1, "what names its namespaces holds all the same"
