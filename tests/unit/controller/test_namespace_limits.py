"""A namespace has its share: what is beyond it is not served and says why, and the others notice nothing."""

from datetime import timedelta
from typing import Any

import pytest

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.controller.namespace_limits import NamespaceLimits
from scopewright.core.config import Config, Limits
from scopewright.core.declared import parse_declared, parse_watched
from scopewright.core.objects import Ref
from tests.harness.clock import START
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER
from tests.unit.core.builders import client


def harness(**limits: Any) -> OperatorHarness:
    return OperatorHarness(Config.model_validate({"issuer": ISSUER, "limits": limits}))


def message(found: OperatorHarness, ref: Ref) -> str:
    return str(found.status(ref)["conditions"][0]["message"])


def apply_clients(found: OperatorHarness, count: int, namespace: str = "greedy") -> list[Ref]:
    refs = []
    for number in range(count):
        refs.append(found.apply("OAuthClient", namespace, f"c{number}"))
        found.clock.advance(seconds=1)
    return refs


def test_the_oldest_objects_are_served_and_the_others_report_the_limit() -> None:
    found = harness(objectsPerNamespace=3)
    clients = apply_clients(found, 5)
    other = found.apply("OAuthClient", "modest", "c")
    found.settle()
    assert [found.condition(ref) for ref in clients] == ["True Provisioned"] * 3 + ["False NamespaceLimit"] * 2
    assert found.condition(other) == "True Provisioned"
    assert "limits.objectsPerNamespace: 3" in message(found, clients[3])
    assert "delete some" in message(found, clients[3])
    assert found.client_record("greedy", "c3") is None, "nothing of it is in the issuers' memory"
    assert found.condition(clients[3], "Stalled") == "True NamespaceLimit"


def test_a_deleted_object_makes_room_for_the_next() -> None:
    found = harness(objectsPerNamespace=3)
    clients = apply_clients(found, 5)
    found.settle()
    found.delete(clients[0])
    found.settle()
    assert found.condition(clients[3]) == "True Provisioned"
    assert found.condition(clients[4]) == "False NamespaceLimit"


def test_large_objects_fill_the_share_sooner() -> None:
    found = harness(bytesPerNamespace="6Ki")
    scopes = [f"{'s' * 60}-{n}" for n in range(60)]
    big = [
        found.apply("OAuthClient", "greedy", name, {"access": [{"resourceServer": "api", "scopes": scopes}]})
        for name in ("a", "b", "c")
    ]
    found.settle()
    assert [found.condition(ref) for ref in big] == ["True Provisioned", "False NamespaceLimit", "False NamespaceLimit"]


def test_a_client_that_a_lower_limit_excludes_keeps_its_access_and_gets_no_more() -> None:
    """As after an upgrade: who is served goes on being served, rotates, and is told."""
    found = harness()
    asks = {"access": [{"resourceServer": "api", "scopes": ["read"]}], "rotation": {"every": "24h"}}
    apply_clients(found, 1)
    kept = found.apply("OAuthClient", "greedy", "kept", asks)
    found.settle()
    secret = found.client_secret(found.secret("greedy", "kept-oauth"))
    found.config = Config(issuer=ISSUER, limits=Limits(objects_per_namespace=1))
    found.restart()
    more = {**asks, "access": [{"resourceServer": "api", "scopes": ["read", "write"]}]}
    found.apply("OAuthClient", "greedy", "kept", more)
    found.settle()
    assert found.condition(kept) == "False NamespaceLimit"
    record = found.client_record("greedy", "kept")
    assert record
    assert [a.scopes for a in record.access] == [("read",)]
    found.clock.advance(hours=25)
    found.settle()
    assert found.client_secret(found.secret("greedy", "kept-oauth")) != secret, "it rotates all the same"


def test_resource_servers_and_grants_are_limited_too() -> None:
    found = harness(objectsPerNamespace=1)
    scopes = {"scopes": [{"name": "read"}]}
    apis = [found.apply("ResourceServer", "greedy", name, scopes) for name in ("a", "b")]
    grants = [
        found.apply("ScopeGrant", "greedy", n, {"resourceServer": "a", "scopes": ["read"], "to": [{"namespace": to}]})
        for n, to in (("x", "leave"), ("y", "other"))
    ]
    found.settle()
    assert [found.condition(ref) for ref in (apis[1], grants[1])] == ["False NamespaceLimit"] * 2
    assert found.condition(grants[0]) == "True InForce"
    record = found.server_record("greedy", "a")
    assert record
    assert [g.namespaces for g in record.grants] == [("leave",)]
    assert found.server_record("greedy", "b") is None


def huge(name: str = "huge", **metadata: Any) -> dict[str, Any]:
    """An OAuthClient of 543 KB, as an earlier CRD let pass."""
    access = [
        {"resourceServer": f"api-{api}", "scopes": [f"{api}-{n}-".ljust(128, "s") for n in range(64)]}
        for api in range(64)
    ]
    meta = {"name": name, "namespace": "greedy", "uid": name, "generation": 1, **metadata}
    return {
        "apiVersion": "scopewright.dev/v1alpha1",
        "kind": "OAuthClient",
        "metadata": meta,
        "spec": {"access": access},
    }


def test_a_client_with_too_many_scopes_gets_the_first_ones_and_is_not_ready() -> None:
    found = harness()
    ref = found.apply("OAuthClient", "greedy", "huge", huge()["spec"])
    found.settle()
    record = found.client_record("greedy", "huge")
    assert record
    assert sum(len(a.scopes) for a in record.access) == MAX_SCOPES
    assert found.condition(ref) == "False TooManyScopes"
    assert len(found.status(ref)["access"]) == 4


def test_the_cache_keeps_only_fields_that_the_operator_reads() -> None:
    annotations = {"example.com/note": "x" * 200_000, "scopewright.dev/paused": "true"}
    raw = huge(annotations=annotations, labels={"team": "hr"}, creationTimestamp="2026-11-22T12:00:00Z")
    watched = parse_watched(raw)
    assert isinstance(watched, OAuthClient)
    assert watched.metadata.annotations == {"scopewright.dev/paused": "true"}
    assert watched.metadata.labels == {}
    assert sum(len(a.scopes) for a in watched.spec.access) == MAX_SCOPES + 1
    assert len(watched.model_dump_json()) < 50_000 < len(parse_declared(raw).model_dump_json())


def created(number: int) -> OAuthClient:
    made = client("greedy", f"c{number}")
    metadata = made.metadata.model_copy(update={"creation_timestamp": START + timedelta(seconds=number)})
    return made.model_copy(update={"metadata": metadata})


@pytest.mark.parametrize("order", ["oldest first", "newest first", "mixed"])
def test_the_order_of_arrival_does_not_change_which_objects_are_served(order: str) -> None:
    shares = NamespaceLimits(Limits(objects_per_namespace=4))
    clients = [created(n) for n in range(9)]
    arriving = {"oldest first": clients, "newest first": clients[::-1], "mixed": clients[::2] + clients[1::2]}[order]
    for obj in arriving:
        shares.put(obj)
    refs = [Ref("OAuthClient", obj.namespace, obj.name) for obj in clients]
    assert [shares.refusal(ref) is None for ref in refs] == [True] * 4 + [False] * 5
    assert shares.drop(refs[1]) == {refs[4]}, "who comes within the limit looks again"
    assert shares.refusal(refs[4]) is None
    assert shares.put(clients[1]) == {refs[4]}
    for ref in refs:
        shares.drop(ref)
    assert not shares._shares
