"""Audiences: which ResourceServer may have one, and how long it keeps it. Grants: when they are in force."""

from dataclasses import replace

import pytest

from scopewright.core.audiences import check_audience, check_claim
from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Rejected
from scopewright.core.grant_status import GrantView, plan_grant
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.core.servers import ServerView, plan_server
from tests.harness.samples import NAMESPACE
from tests.unit.core.builders import CONFIG, NOW, client, existing, grant, server

HR = Config(
    issuer="https://issuer.example.org",
    audiences=(
        AudiencePrefix(prefix="https://hr.example/api", namespaces=("payroll",)),
        AudiencePrefix(prefix="https://port.example:8443/", namespaces=("payroll",)),
        AudiencePrefix(prefix="https://staff.example", namespaces=("staff",)),
    ),
)
RECORD = ResourceServerRecord(
    namespace="payroll", name="payroll-api", uid="uid-1", audience="https://payroll-api.payroll.svc",
    scopes=("read",), grants=(ResolvedGrant(("read",), everybody=True),),
)  # fmt: skip


@pytest.mark.parametrize(
    "audience",
    [
        "https://hr.example/api",
        "https://hr.example/api/v1",
        "https://port.example:8443",
        "https://port.example:8443/x",
        "https://payroll-api.payroll.svc",
    ],
)
def test_an_audience_under_the_namespaces_prefix_is_allowed(audience: str) -> None:
    check_audience(audience, "payroll", "payroll-api", HR)


@pytest.mark.parametrize(
    "audience",
    [
        "https://hr.example/apix",
        "https://hr.example",
        "https://hr.example/API",
        "https://hr.example/v1/api",
        "https://hr.example.evil.example/api",
        "https://evilhr.example/api",
        "https://sub.hr.example/api",
        "https://hr.example:8443/api",
        "https://port.example/x",
        "http://hr.example/api",
        "https://staff.example",
        "https://hr.example/api/../other",
        "https://hr.example/api/./x",
        "https://hr.example/api/%2e%2e/other",
        "https://hr.example/api/",
        "https://hr.example//api",
        "https://hr.example/api?x",
        "https://hr.example/api#x",
        "https://user@hr.example/api",
        "https://hr.example@evil.example/api",
        "https://HR.example/api",
        "HTTPS://hr.example/api",
        "https://hr.example:443/api",
        "https://hr.example:0443/api",
        "https://hr.example:99999/api",
        "https://hr.example:/api",
        "https://hr.example\\@evil.example/api",
        "https://hr.example/api\n",
        " https://hr.example/api",
        "https://hr.еxample/api",
        "urn:payroll",
        "payroll",
        "",
        "https://",
        "https://[::1]/api",
        "https://[/api",
        "https://issuer.example.org",
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
        "https://kubernetes.default",
        "https://staff-api.staff.svc",
        "https://payroll-api.payroll.svc.cluster.local",
    ],
)
def test_an_audience_of_another_namespace_is_refused(audience: str) -> None:
    with pytest.raises(Rejected) as refused:
        check_audience(audience, "payroll", "payroll-api", HR)
    assert refused.value.reason == "AudienceNotAllowed"


def test_a_reserved_audience_is_refused_although_a_prefix_allows_it() -> None:
    wide = Config(
        issuer="https://hr.example/issuer",
        audiences=(AudiencePrefix(prefix="https://hr.example", namespaces=("payroll",)),),
        reserved_audiences=("https://hr.example/reserved",),
    )
    for audience in ("https://hr.example/issuer", "https://hr.example/reserved"):
        with pytest.raises(Rejected, match="reserved"):
            check_audience(audience, "payroll", "api", wide)


def test_a_default_audience_that_is_reserved_is_refused() -> None:
    """ResourceServer `kubernetes` in namespace `default` would get tokens for the API server."""
    with pytest.raises(Rejected, match="reserved"):
        check_audience("https://kubernetes.default.svc", "default", "kubernetes", CONFIG)


def test_a_default_audience_that_is_the_issuer_itself_is_refused() -> None:
    inside = Config(issuer="https://scopewright.scopewright-system.svc")
    with pytest.raises(Rejected, match="reserved"):
        check_audience(inside.issuer, "scopewright-system", "scopewright", inside)


def test_an_audience_belongs_to_one_resource_server() -> None:
    check_claim("https://a", "payroll/api", {"https://a": "payroll/api"})
    check_claim("https://b", "payroll/api", {"https://a": "staff/api"})
    with pytest.raises(Rejected, match="is taken") as refused:
        check_claim("https://a", "payroll/api", {"https://a": "staff/api"})
    assert refused.value.reason == "AudienceConflict"
    assert "staff" not in refused.value.message


def test_a_refusal_names_only_the_prefixes_of_that_namespace() -> None:
    with pytest.raises(Rejected) as refused:
        check_audience("https://other.example", "payroll", "api", HR)
    assert "https://hr.example/api" in refused.value.message
    assert "staff.example" not in refused.value.message


def test_a_successor_of_the_same_name_is_not_served_under_its_predecessors_audience() -> None:
    """Invariant 11: the audience it asks for is refused, and the tombstone has another one."""
    tombstone = ResourceServerRecord("payroll", "payroll-api", "", "https://hr.example/api")
    view = ServerView(
        server=server(audience="https://not-allowed.example", scopes=[{"name": "read"}]),
        record=tombstone,
        record_object=existing("ConfigMap", NAMESPACE, "resourceserver.payroll.payroll-api", {}),
        grants=(),
        namespaces={},
        claims={"https://hr.example/api": "payroll/payroll-api"},
        signing=frozenset({"default"}),
        config=HR,
        now=NOW,
    )
    for write in plan_server(view).writes:
        assert b'"audience":"https://hr.example/api"' not in write.entries["record.json"]  # type: ignore[union-attr, operator]


def test_a_grant_counts_only_the_clients_that_use_it() -> None:
    """Clients of its own namespace have the scopes without the grant."""
    view = GrantView(
        grant=grant(resourceServer="payroll-api", scopes=["read"], to=[{"allNamespaces": True}]),
        server=server(scopes=[{"name": "read"}]),
        record=RECORD,
        clients=(
            client(
                "leave", "a", access=[{"resourceServer": "payroll-api", "namespace": "payroll", "scopes": ["read"]}]
            ),
            client("payroll", "b", access=[{"resourceServer": "payroll-api", "scopes": ["read"]}]),
        ),
        namespaces={},
        now=NOW,
    )
    status = plan_grant(view).status
    assert status is not None
    assert status["grantedTo"] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (RECORD, "InForce"),
        (None, "ResourceServerNotReady"),
        (replace(RECORD, grants=()), "ResourceServerNotReady"),
        (replace(RECORD, audience=""), "ResourceServerNotReady"),
        (replace(RECORD, uid="of one before"), "ResourceServerNotReady"),
    ],
)
def test_a_grant_is_in_force_once_the_record_has_it(record: ResourceServerRecord | None, reason: str) -> None:
    grant_to_all = grant(resourceServer="payroll-api", scopes=["read"], to=[{"allNamespaces": True}])
    view = GrantView(grant_to_all, server(scopes=[{"name": "read"}]), record, (), {}, NOW)
    status = plan_grant(view).status
    assert status is not None
    assert [c["reason"] for c in status["conditions"]] == [reason]


def test_a_grant_that_selects_no_namespace_is_in_force() -> None:
    selecting_grant = grant(
        resourceServer="payroll-api", scopes=["read"], to=[{"namespaceSelector": {"matchLabels": {"team": "hr"}}}]
    )
    status = plan_grant(
        GrantView(selecting_grant, server(scopes=[{"name": "read"}]), replace(RECORD, grants=()), (), {}, NOW)
    ).status
    assert status is not None
    assert status["conditions"][0]["reason"] == "InForce"
