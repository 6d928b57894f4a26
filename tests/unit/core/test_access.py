"""A client gets the scopes that it asks for, the ResourceServer declares and a grant in force grants, and no others."""

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.access import resolve
from scopewright.core.grants import DeclaredAccess, in_force, resolve_grant
from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from tests.unit.core.builders import NOW, client, grant

SCOPES = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(tuple)
INSTANTS = st.one_of(st.none(), st.integers(-3, 3).map(lambda hours: NOW + timedelta(hours=hours)))
GRANTS = st.builds(
    ResolvedGrant,
    scopes=SCOPES,
    clients=st.lists(st.sampled_from(["leave.worker", "leave.other", "payroll.worker"]), max_size=2).map(tuple),
    namespaces=st.lists(st.sampled_from(["leave", "staff", "payroll"]), max_size=2).map(tuple),
    everybody=st.booleans(),
    not_after=INSTANTS,
)
SERVERS = st.builds(
    ResourceServerRecord,
    namespace=st.sampled_from(["payroll", "leave"]),
    name=st.just("api"),
    uid=st.sampled_from(["uid", ""]),
    audience=st.sampled_from(["https://api.payroll.svc", ""]),
    scopes=SCOPES,
    grants=st.lists(GRANTS, max_size=4).map(tuple),
)


@given(SCOPES, SERVERS)
def test_granted_scopes_are_asked_for_declared_and_in_a_grant_in_force(
    asked: tuple[str, ...], server: ResourceServerRecord
) -> None:
    access = resolve(RequestedAccess("x/api", asked), "leave", "leave.worker", server, NOW)
    live = [g for g in server.grants if g.not_after is None or g.not_after > NOW]
    reaching = [g for g in live if g.everybody or "leave" in g.namespaces or "leave.worker" in g.clients]
    given = {s for g in reaching for s in g.scopes}
    if server.namespace == "leave":
        given = set(server.scopes)
    served = bool(server.audience)
    assert set(access.granted) == (set(asked) & set(server.scopes) & given if served else set())
    assert [*access.missing] == [s for s in asked if s not in access.granted]


@given(SCOPES, SERVERS)
def test_each_scope_ends_with_the_last_of_its_grants(asked: tuple[str, ...], server: ResourceServerRecord) -> None:
    access = resolve(RequestedAccess("x/api", asked), "leave", "leave.worker", server, NOW)
    for scope, end in access.granted.items():
        if end is None:
            continue
        just_before = resolve(
            RequestedAccess("x/api", asked), "leave", "leave.worker", server, end - timedelta(microseconds=1)
        )
        assert scope in just_before.granted
        assert scope not in resolve(RequestedAccess("x/api", asked), "leave", "leave.worker", server, end).granted


@given(SCOPES)
def test_missing_objects_grant_nothing(asked: tuple[str, ...]) -> None:
    access = resolve(RequestedAccess("x/api", asked), "leave", "leave.worker", None, NOW)
    assert (access.granted, access.missing) == ({}, asked)


DECLARED = DeclaredAccess(frozenset("a"), {})
NAMESPACES = st.dictionaries(
    st.sampled_from(["leave", "staff", "other"]),
    st.dictionaries(st.sampled_from(["team", "tier"]), st.sampled_from(["hr", "it", ""]), max_size=2),
)


@given(
    st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"]),
    st.lists(st.sampled_from(["hr", "it"]), min_size=1, unique=True),
    NAMESPACES,
)
def test_namespace_selectors_match_as_in_kubernetes(
    operator: str, values: list[str], namespaces: dict[str, dict[str, str]]
) -> None:
    expression = {"key": "team", "operator": operator, **({"values": values} if operator.endswith("In") else {})}
    chosen = resolve_grant(
        grant(resourceServer="api", scopes=["a"], to=[{"namespaceSelector": {"matchExpressions": [expression]}}]),
        DECLARED,
        namespaces,
    ).namespaces
    for name, labels in namespaces.items():
        meant = {
            "In": labels.get("team") in values,
            "NotIn": "team" not in labels or labels["team"] not in values,
            "Exists": "team" in labels,
            "DoesNotExist": "team" not in labels,
        }[operator]
        assert (name in chosen) == meant


def test_an_empty_selector_selects_nothing() -> None:
    empty: list[dict[str, object]] = [{}, {"matchLabels": {}}, {"matchExpressions": []}]
    for selector in empty:
        found = resolve_grant(
            grant(resourceServer="api", scopes=["a"], to=[{"namespaceSelector": selector}]),
            DECLARED,
            {"leave": {"a": "b"}},
        )
        assert not found.namespaces


def test_a_grant_that_is_being_deleted_is_not_in_force() -> None:
    current = grant(resourceServer="api", scopes=["a"], to=[{"allNamespaces": True}])
    assert in_force(current, NOW)
    deleted = current.model_copy(update={"metadata": current.metadata.model_copy(update={"deletion_timestamp": NOW})})
    assert not in_force(deleted, NOW)


def test_a_client_of_a_namespace_with_the_grants_name_prefix_gets_nothing() -> None:
    """`leave.worker` is one client, not namespace `leave.wor` or client `worker` of another namespace."""
    granted = ResolvedGrant(("a",), clients=("leave.worker",), namespaces=("leave",))
    record = ResourceServerRecord("payroll", "api", "uid", "https://api", scopes=("a",), grants=(granted,))
    other = client("leave-2", "worker")
    assert not resolve(RequestedAccess("payroll/api", ("a",)), other.namespace, other.client_id, record, NOW).granted


def _ends(end: datetime | None) -> ResolvedGrant:
    return ResolvedGrant(("a",), everybody=True, not_after=end)


def test_one_grant_without_an_end_outlasts_all_others() -> None:
    grants = (_ends(NOW + timedelta(hours=1)), _ends(None), _ends(NOW + timedelta(hours=2)))
    record = ResourceServerRecord("payroll", "api", "uid", "https://api", scopes=("a",), grants=grants)
    assert resolve(RequestedAccess("payroll/api", ("a",)), "leave", "leave.worker", record, NOW).granted == {"a": None}
