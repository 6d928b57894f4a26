"""Hostnames over time: claimed before they are in force, kept after deletion, released by the platform."""

from dataclasses import replace
from typing import Any

from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records.names import ENTRY, hostname_claim_name
from scopewright.core.records.resource_server import HttpAccess
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

HOST = "api.hr.example"
A, B = Ref("ResourceServer", "leave", "a"), Ref("ResourceServer", "payroll", "b")
OPEN = {"name": "health", "paths": ["/healthz"], "authentication": "None"}
ALL = {"name": "all", "paths": ["/**"], "authentication": "Required"}


def config(*namespaces: str, **more: Any) -> Config:
    gateway = {"hostnames": [{"hostname": HOST, "namespaces": list(namespaces or ("leave", "payroll"))}]}
    return Config.model_validate({"issuer": ISSUER, "gateway": {**gateway, **more.pop("gateway", {})}, **more})


def operator(given: Config | None = None) -> OperatorHarness:
    harness = OperatorHarness(given or config())
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    return harness


def apply(
    harness: OperatorHarness, ref: Ref, *rules: dict[str, Any], base_path: str = "/", settle: bool = True
) -> None:
    http = {"hostnames": [HOST], "basePath": base_path, "rules": list(rules or (ALL, OPEN))}
    harness.apply(ref.kind, ref.namespace, ref.name, {"http": http})
    if settle:
        harness.settle()


def claim_ref(base_path: str = "/") -> Ref:
    return Ref("ConfigMap", NAMESPACE, hostname_claim_name(HOST, base_path))


def in_force(harness: OperatorHarness, ref: Ref) -> HttpAccess | None:
    record = harness.server_record(ref.namespace, ref.name)
    return record.http if record else None


def serving(harness: OperatorHarness) -> list[Ref]:
    found = ((ref, in_force(harness, ref)) for ref in (A, B))
    return [ref for ref, http in found if http and http.hostnames]


def test_the_first_of_two_resource_servers_has_the_hostname() -> None:
    harness = operator()
    apply(harness, A)
    apply(harness, B)
    assert serving(harness) == [A]
    assert harness.condition(B) == "False HostnameConflict"
    assert harness.condition(B, "Stalled") == "True HostnameConflict"
    assert harness.server_record(B.namespace, B.name), "the API itself is not served"


def test_two_resource_servers_of_one_namespace_share_a_host_by_base_path() -> None:
    harness = operator()
    apply(harness, A)
    other = Ref("ResourceServer", "leave", "other")
    apply(harness, other, base_path="/v1")
    assert harness.condition(other) == "True Served"
    third = Ref("ResourceServer", "leave", "third")
    apply(harness, third, base_path="/v1")
    assert harness.condition(third) == "False HostnameConflict"


def test_a_hostname_stays_with_the_name_of_a_deleted_resource_server() -> None:
    harness = operator()
    apply(harness, A)
    harness.delete(A)
    harness.settle()
    assert in_force(harness, A) is None
    assert claim_ref() in harness.store.objects
    apply(harness, B)
    assert serving(harness) == []
    apply(harness, A)
    assert serving(harness) == [A]


def test_a_released_hostname_is_for_the_next_resource_server() -> None:
    harness = operator()
    apply(harness, A)
    apply(harness, B)
    harness.delete(A)
    harness.settle()
    harness.store.delete_by_hand(claim_ref())
    harness.settle()
    assert serving(harness) == [B]
    assert harness.condition(B) == "True Served"


def test_a_resource_server_loses_a_released_hostname_as_soon_as_another_has_claimed_it() -> None:
    """The claim alone makes the operator reconcile the ResourceServer that serves the hostname."""
    harness = operator()
    apply(harness, A)
    apply(harness, B)
    harness.store.delete_by_hand(claim_ref())
    harness.resync()
    assert harness.reconcile(A)
    assert harness.reconcile(B)
    assert harness.condition(A) == "True Served"
    claim = harness.store.objects[claim_ref()]
    later = replace(claim.existing, resource_version=harness.store.resource_version + "0")
    assert A in harness.cache.put_managed(later, claim.entries)
    harness.reconcile(A)
    harness.reconcile(A)
    assert harness.condition(A) == "False HostnameConflict"
    assert serving(harness) == [B]


def test_a_claim_that_cannot_be_written_keeps_the_rules_out_of_force() -> None:
    harness = operator()
    apply(harness, A, settle=False)
    harness.store.refuse(str(claim_ref()), Unavailable("the API server does not answer"))
    harness.reconcile_all()
    harness.reconcile_all()
    assert in_force(harness, A) is None
    assert claim_ref() not in harness.store.objects
    harness.store.stop_refusing()
    harness.settle()
    assert serving(harness) == [A]


def test_a_malformed_claim_keeps_the_hostname_out_of_force() -> None:
    """It may be of another ResourceServer: it is not replaced, and the creation of another claim fails."""
    harness = operator()
    apply(harness, A)
    claim = harness.store.objects[claim_ref()]
    harness.delete(A)
    harness.settle()
    harness.store.put(claim.existing, {ENTRY: b"{"})
    harness.restart()
    apply(harness, B, settle=False)
    harness.reconcile_all()
    harness.reconcile_all()
    assert serving(harness) == []
    assert harness.store.objects[claim_ref()].entries == {ENTRY: b"{"}


def test_the_platform_narrows_what_needs_no_token_and_it_is_refused_at_once() -> None:
    harness = operator()
    apply(harness, A)
    harness.config = config(gateway={"unauthenticatedPaths": ["/livez"]})
    harness.restart()
    harness.settle()
    http = in_force(harness, A)
    assert http is not None
    assert [rule.name for rule in http.rules] == ["all"]
    assert http.refused == ("/healthz",)
    assert harness.condition(A) == "False PublicNotAllowed"
    assert harness.status(A)["http"] == {"hostnames": [HOST], "unauthenticated": []}


def test_a_hostname_that_the_platform_gives_to_another_namespace_leaves_the_record_at_once() -> None:
    harness = operator()
    apply(harness, A)
    harness.config = config("payroll")
    harness.restart()
    harness.settle()
    assert serving(harness) == []
    assert harness.condition(A) == "False HostnameNotAllowed"
    apply(harness, B)
    assert harness.condition(B) == "False HostnameConflict", "the platform releases the claim too"
    harness.store.delete_by_hand(claim_ref())
    harness.settle()
    assert serving(harness) == [B]


def test_rules_leave_with_spec_http_and_the_claim_stays() -> None:
    harness = operator()
    apply(harness, A)
    assert harness.status(A)["http"] == {"hostnames": [HOST], "unauthenticated": ["* /healthz"]}
    harness.apply(A.kind, A.namespace, A.name)
    harness.settle()
    assert in_force(harness, A) is None
    assert "http" not in harness.status(A)
    assert claim_ref() in harness.store.objects


def test_a_paused_resource_server_keeps_its_rules() -> None:
    harness = operator()
    apply(harness, A)
    before = in_force(harness, A)
    harness.apply(A.kind, A.namespace, A.name, {"http": {"hostnames": [HOST], "rules": []}}, paused="true")
    harness.settle()
    assert in_force(harness, A) == before
    assert harness.status(A)["http"]["unauthenticated"] == ["* /healthz"]


def test_a_resource_server_with_the_name_of_a_deleted_one_does_not_inherit_its_rules() -> None:
    """Invariant 11."""
    harness = operator()
    apply(harness, A)
    harness.delete(A)
    apply(harness, A, ALL, {**ALL, "name": "again"})
    assert harness.condition(A) == "False RuleConflict"
    assert in_force(harness, A) is None


def test_a_resource_server_beyond_the_limits_of_its_namespace_keeps_the_rules_in_force() -> None:
    harness = operator()
    apply(harness, A)
    before = in_force(harness, A)
    harness.config = config(limits={"bytesPerNamespace": 1024})
    harness.restart()
    many = [{"name": f"r{n}", "paths": [f"/some/long/path/{n}"], "authentication": "None"} for n in range(30)]
    apply(harness, A, *many)
    assert harness.condition(A) == "False NamespaceLimit"
    assert in_force(harness, A) == before


def test_the_record_of_a_resource_server_that_seems_deleted_is_marked_with_its_rules() -> None:
    harness = operator()
    apply(harness, A)
    before = in_force(harness, A)
    harness.delete(A, collect=False)
    harness.resync()
    harness.deleted.discard(A)
    harness.cache.deleted.discard(A)
    harness.cache.held_records.add(A)
    harness.reconcile(A)
    record = harness.server_record(A.namespace, A.name)
    assert record is not None
    assert record.orphaned_time
    assert record.http == before
