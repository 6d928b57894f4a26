"""Limits of a namespace: objects beyond them are not served and report it, and other namespaces are not affected."""

from datetime import timedelta
from typing import Any

import pytest

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.controller.namespace_limits import NamespaceLimits
from scopewright.core.config import Config, Limits
from scopewright.core.declared import parse_declared, parse_watched, ref_of
from scopewright.core.objects import Ref
from tests.harness.clock import START
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER
from tests.unit.core.builders import client, grant


def limited_harness(**limits: Any) -> OperatorHarness:
    return OperatorHarness(Config.model_validate({"issuer": ISSUER, "limits": limits}))


def message(harness: OperatorHarness, ref: Ref) -> str:
    return str(harness.status(ref)["conditions"][0]["message"])


def apply_clients(harness: OperatorHarness, count: int, namespace: str = "greedy") -> list[Ref]:
    refs = []
    for number in range(count):
        refs.append(harness.apply("OAuthClient", namespace, f"c{number}"))
        harness.clock.advance(seconds=1)
    return refs


def test_the_oldest_objects_are_served_and_the_others_report_the_limit() -> None:
    harness = limited_harness(objectsPerNamespace=3)
    clients = apply_clients(harness, 5)
    other = harness.apply("OAuthClient", "modest", "c")
    harness.settle()
    assert [harness.condition(ref) for ref in clients] == ["True Provisioned"] * 3 + ["False NamespaceLimit"] * 2
    assert harness.condition(other) == "True Provisioned"
    assert "limits.objectsPerNamespace: 3" in message(harness, clients[3])
    assert "delete some" in message(harness, clients[3])
    assert harness.client_record("greedy", "c3") is None, "the client has a record"
    assert harness.condition(clients[3], "Stalled") == "True NamespaceLimit"


def test_a_deleted_object_makes_room_for_the_next() -> None:
    harness = limited_harness(objectsPerNamespace=3)
    clients = apply_clients(harness, 5)
    harness.settle()
    harness.delete(clients[0])
    harness.settle()
    assert harness.condition(clients[3]) == "True Provisioned"
    assert harness.condition(clients[4]) == "False NamespaceLimit"


def test_large_objects_fill_the_share_sooner() -> None:
    harness = limited_harness(bytesPerNamespace="6Ki")
    scopes = [f"{'s' * 60}-{n}" for n in range(60)]
    big = [
        harness.apply("OAuthClient", "greedy", name, {"access": [{"resourceServer": "api", "scopes": scopes}]})
        for name in ("a", "b", "c")
    ]
    harness.settle()
    assert [harness.condition(ref) for ref in big] == [
        "True Provisioned",
        "False NamespaceLimit",
        "False NamespaceLimit",
    ]


def test_a_client_that_a_lower_limit_excludes_keeps_its_access_and_gets_no_more() -> None:
    """As after an upgrade to a version with limits: the client stays served, rotates, and reports the limit."""
    harness = limited_harness()
    asks = {"access": [{"resourceServer": "api", "scopes": ["read"]}], "rotation": {"every": "24h"}}
    apply_clients(harness, 1)
    kept = harness.apply("OAuthClient", "greedy", "kept", asks)
    harness.settle()
    secret = harness.client_secret(harness.secret_ref("greedy", "kept-oauth"))
    harness.config = Config(issuer=ISSUER, limits=Limits(objects_per_namespace=1))
    harness.restart()
    more = {**asks, "access": [{"resourceServer": "api", "scopes": ["read", "write"]}]}
    harness.apply("OAuthClient", "greedy", "kept", more)
    harness.settle()
    assert harness.condition(kept) == "False NamespaceLimit"
    record = harness.client_record("greedy", "kept")
    assert record
    assert [a.scopes for a in record.access] == [("read",)]
    harness.clock.advance(hours=25)
    harness.settle()
    assert harness.client_secret(harness.secret_ref("greedy", "kept-oauth")) != secret, "the credential was not rotated"


def test_resource_servers_and_grants_are_limited_too() -> None:
    harness = limited_harness(objectsPerNamespace=1)
    scopes = {"scopes": [{"name": "read"}]}
    apis = [harness.apply("ResourceServer", "greedy", name, scopes) for name in ("a", "b")]
    grants = [
        harness.apply("ScopeGrant", "greedy", n, {"resourceServer": "a", "scopes": ["read"], "to": [{"namespace": to}]})
        for n, to in (("x", "leave"), ("y", "other"))
    ]
    harness.settle()
    assert [harness.condition(ref) for ref in (apis[1], grants[1])] == ["False NamespaceLimit"] * 2
    assert harness.condition(grants[0]) == "True InForce"
    record = harness.server_record("greedy", "a")
    assert record
    assert [g.namespaces for g in record.grants] == [("leave",)]
    assert harness.server_record("greedy", "b") is None


def huge(name: str = "huge", **metadata: Any) -> dict[str, Any]:
    """An OAuthClient of 543 KB, which an earlier CRD allowed."""
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
    harness = limited_harness()
    ref = harness.apply("OAuthClient", "greedy", "huge", huge()["spec"])
    harness.settle()
    record = harness.client_record("greedy", "huge")
    assert record
    assert sum(len(a.scopes) for a in record.access) == MAX_SCOPES
    assert harness.condition(ref) == "False TooManyScopes"
    assert len(harness.status(ref)["access"]) == 4


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
    limits = NamespaceLimits(Limits(objects_per_namespace=4))
    clients = [created(n) for n in range(9)]
    arriving = {"oldest first": clients, "newest first": clients[::-1], "mixed": clients[::2] + clients[1::2]}[order]
    for obj in arriving:
        limits.put(obj)
    refs = [Ref("OAuthClient", obj.namespace, obj.name) for obj in clients]
    assert [limits.refusal(ref) is None for ref in refs] == [True] * 4 + [False] * 5
    assert limits.drop(refs[1]) == {refs[4]}, "the object that is within the limit now is queued"
    assert limits.refusal(refs[4]) is None
    assert limits.put(clients[1]) == {refs[4]}
    for ref in refs:
        limits.drop(ref)
    assert not limits._shares


def test_a_grant_counts_with_what_the_record_repeats() -> None:
    """Else sixteen entries of `toUsers` would make a record sixteen times as long as what the limit counts."""
    entries = [{"allUsers": True, "through": {"namespace": f"n{number}"}} for number in range(16)]
    scopes = [f"{number:03}".rjust(128, "s") for number in range(60)]
    limits = Limits(bytes_per_namespace=64 * 1024)
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"scopes": scopes, "toUsers": entries[:1]}, False),
        ({"scopes": scopes, "toUsers": entries}, True),
        ({"roles": [f"r{role}" for role in range(16)], "toUsers": entries}, True),
        ({"roles": [f"r{role}" for role in range(16)], "to": [{"namespace": "a"}]}, False),
    ]
    for number, (spec, refused) in enumerate(cases):
        shares, granted = NamespaceLimits(limits), grant(name=f"g{number}", resourceServer="api", **spec)
        shares.put(granted)
        assert (shares.refusal(ref_of(granted)) is not None) == refused, number
