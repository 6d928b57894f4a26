"""A user gets what the client asks for, the ResourceServer declares, and an entry of `toUsers` in force grants. The
entry names the user, and its `through` covers the client. Clients that act for themselves get nothing by it.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.access import resolve, resolve_user
from scopewright.core.grants import DeclaredAccess, declared_access, resolve_grant, resolve_user_grants
from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, Role, UserGrant
from scopewright.core.users import OPENID_SCOPES, User, quoted_group, subject_of
from tests.unit.core.builders import NOW, grant, server

ADA, BOB = (subject_of("https://login.example", name) for name in ("ada", "bob"))
NAMES = ("a", "b", "c", "d", "email", "openid")
GROUPS = ("staff", "managers", "Staff", "leave")
NAMESPACES = ("hr", "leave", "payroll")
CLIENTS = ("hr.web", "hr.other", "payroll.web", "leave.web")

SCOPES = st.lists(st.sampled_from(NAMES), unique=True, max_size=6).map(tuple)
INSTANTS = st.one_of(st.none(), st.integers(-2, 2).map(lambda hours: NOW + timedelta(hours=hours)))
USERS = st.builds(
    User, subject=st.sampled_from([ADA, BOB]), groups=st.lists(st.sampled_from(GROUPS), max_size=2).map(tuple)
)


def some(values: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(values), unique=True, max_size=2).map(tuple)


USER_GRANTS = st.builds(
    UserGrant,
    scopes=SCOPES,
    roles=some(("reader", "writer")),
    groups=some(GROUPS),
    subjects=some((ADA, BOB)),
    all_users=st.booleans(),
    clients=some(CLIENTS),
    namespaces=some(NAMESPACES),
    everybody=st.booleans(),
    not_after=INSTANTS,
)
SERVERS = st.builds(
    ResourceServerRecord,
    namespace=st.sampled_from(["payroll", "hr"]),
    name=st.just("api"),
    uid=st.just("uid"),
    audience=st.sampled_from(["https://api.payroll.svc", "https://api.payroll.svc", ""]),
    scopes=SCOPES,
    roles=st.just((Role("reader", ("a",)), Role("writer", ("a", "b")))),
    user_grants=st.lists(USER_GRANTS, max_size=4).map(tuple),
)


def names_and_covers(g: UserGrant, user: User, namespace: str, client_id: str) -> bool:
    named = g.all_users or user.subject in g.subjects or any(group in g.groups for group in user.groups)
    return named and (g.everybody or namespace in g.namespaces or client_id in g.clients)


@given(SCOPES, SERVERS, USERS, st.sampled_from(CLIENTS))
def test_a_user_gets_what_is_asked_for_declared_and_granted_to_the_user_through_the_client(
    asked: tuple[str, ...], api: ResourceServerRecord, user: User, client_id: str
) -> None:
    namespace = client_id.split(".")[0]
    access = resolve_user(RequestedAccess("x/api", asked), namespace, client_id, api, user, NOW)
    live = [g for g in api.user_grants if g.not_after is None or g.not_after > NOW]
    through = [g for g in live if names_and_covers(g, user, namespace, client_id)] if api.audience else []
    granted = {scope for g in through for scope in g.scopes} - set(OPENID_SCOPES)
    assert set(access.granted) == set(asked) & set(api.scopes) & granted
    assert set(access.roles) == {role for g in through for role in g.roles}
    for scope, end in access.granted.items():
        ends = [g.not_after for g in through if scope in g.scopes]
        assert end == (None if None in ends else max(e for e in ends if e))


@given(SCOPES, SERVERS, USERS, st.sampled_from(CLIENTS))
def test_each_scope_and_role_of_a_user_ends_with_the_last_of_its_grants(
    asked: tuple[str, ...], api: ResourceServerRecord, user: User, client_id: str
) -> None:
    def at(instant: datetime) -> set[str]:
        access = resolve_user(RequestedAccess("x/api", asked), client_id.split(".")[0], client_id, api, user, instant)
        return {*access.granted, *access.roles}

    access = resolve_user(RequestedAccess("x/api", asked), client_id.split(".")[0], client_id, api, user, NOW)
    for name, end in {**access.granted, **access.roles}.items():
        if end is not None:
            assert name in at(end - timedelta(microseconds=1))
            assert name not in at(end)


@given(SCOPES, SERVERS, st.sampled_from(CLIENTS))
def test_a_client_that_acts_for_itself_gets_nothing_by_user_grants(
    asked: tuple[str, ...], api: ResourceServerRecord, client_id: str
) -> None:
    namespace, requested = client_id.split(".")[0], RequestedAccess("x/api", asked)
    without = replace(api, user_grants=())
    assert resolve(requested, namespace, client_id, api, NOW) == resolve(requested, namespace, client_id, without, NOW)


@given(SCOPES, SERVERS, USERS)
def test_the_namespace_of_the_api_is_no_exception_for_users(
    asked: tuple[str, ...], api: ResourceServerRecord, user: User
) -> None:
    alone = replace(api, user_grants=(), grants=(ResolvedGrant(NAMES, everybody=True, roles=("reader",)),))
    access = resolve_user(RequestedAccess("x/api", asked), api.namespace, f"{api.namespace}.web", alone, user, NOW)
    assert (access.granted, access.roles) == ({}, {})


def test_an_unknown_api_grants_nothing_to_users() -> None:
    access = resolve_user(RequestedAccess("x/api", ("a",)), "hr", "hr.web", None, User(ADA), NOW)
    assert (access.granted, access.roles) == ({}, {})


@pytest.mark.parametrize("groups", [("hr",), ("Staff",), ("staff ",), ("sta",), ("staff/x",), (ADA,), ()])
def test_a_group_is_compared_as_it_is(groups: tuple[str, ...]) -> None:
    api = ResourceServerRecord(
        "payroll",
        "api",
        "uid",
        "https://api",
        ("a",),
        user_grants=(UserGrant(("a",), groups=("staff",), everybody=True),),
    )
    asked = RequestedAccess("payroll/api", ("a",))
    assert not resolve_user(asked, "hr", "hr.web", api, User(BOB, groups), NOW).granted
    assert resolve_user(asked, "hr", "hr.web", api, User(BOB, ("staff", *groups)), NOW).granted


ENTRIES = st.builds(
    lambda users, through: {**users, "through": through},
    st.one_of(
        st.builds(lambda g: {"groups": g}, st.lists(st.sampled_from(GROUPS), unique=True, min_size=1)),
        st.builds(lambda s: {"subjects": s}, st.lists(st.sampled_from([ADA, BOB]), unique=True, min_size=1)),
        st.just({"allUsers": True}),
    ),
    st.sampled_from(
        [
            {"namespace": "hr"},
            {"namespace": "hr", "client": "web"},
            {"namespace": "payroll"},
            {"namespaceSelector": {"matchLabels": {"team": "hr"}}},
            {"allNamespaces": True},
        ]
    ),
)
MANIFESTS = st.lists(
    st.builds(
        lambda scopes, roles, entries, to: {
            "resourceServer": "api", "scopes": list(scopes), "roles": roles, "toUsers": entries, "to": to,
        },
        SCOPES,
        st.lists(st.sampled_from(["reader", "writer", "broken", "nonsense"]), unique=True, max_size=3),
        st.lists(ENTRIES, max_size=3),
        st.lists(st.sampled_from([{"namespace": "leave"}, {"allNamespaces": True}]), max_size=1),
    ),
    max_size=3,
)  # fmt: skip
DECLARED = server(
    name="api",
    scopes=[{"name": name} for name in ("a", "b", "c", "email")],
    roles=[
        {"name": "reader", "scopes": ["a"]},
        {"name": "writer", "scopes": ["a", "b"]},
        {"name": "broken", "scopes": ["a", "d"]},
    ],
)
LABELS = {"hr": {"team": "hr"}, "leave": {"team": "leave"}}


def covers(through: dict[str, Any], client_id: str) -> bool:
    namespace, name = client_id.split(".")
    if "namespaceSelector" in through:
        return namespace == "hr"
    return "allNamespaces" in through or (through["namespace"] == namespace and through.get("client", name) == name)


@given(MANIFESTS, SCOPES, USERS, st.sampled_from(CLIENTS))
def test_a_users_access_follows_from_the_manifests(
    manifests: list[dict[str, Any]], asked: tuple[str, ...], user: User, client_id: str
) -> None:
    declared = declared_access(DECLARED)
    grants = [grant(**manifest) for manifest in manifests]
    record = ResourceServerRecord(
        "payroll", "api", "uid", "https://api",
        scopes=tuple(s.name for s in DECLARED.spec.scopes),
        roles=tuple(Role(name, scopes) for name, scopes in declared.roles.items()),
        grants=tuple(resolve_grant(g, declared, LABELS) for g in grants),
        user_grants=tuple(u for g in grants for u in resolve_user_grants(g, declared, LABELS)),
    )  # fmt: skip
    record = decode(ResourceServerRecord, encode(record))
    expected_scopes, expected_roles = set[str](), set[str]()
    for manifest in manifests:
        of_roles = {"reader": {"a"}, "writer": {"a", "b"}}
        roles = set(manifest["roles"]) & of_roles.keys()
        scopes = set(manifest["scopes"]).union(*(of_roles[role] for role in roles)) & {"a", "b", "c"}
        for entry in manifest["toUsers"]:
            named = (
                "allUsers" in entry
                or user.subject in entry.get("subjects", ())
                or set(user.groups) & set(entry.get("groups", ()))
            )
            if named and covers(entry["through"], client_id):
                expected_scopes |= scopes
                expected_roles |= roles
    access = resolve_user(RequestedAccess("payroll/api", asked), client_id.split(".")[0], client_id, record, user, NOW)
    assert set(access.granted) == expected_scopes & set(asked)
    assert set(access.roles) == expected_roles


@given(MANIFESTS)
def test_grants_of_clients_are_the_same_without_to_users(manifests: list[dict[str, Any]]) -> None:
    declared = DeclaredAccess(frozenset("abc"), {"reader": ("a",)})
    for manifest in manifests:
        without = grant(**{**manifest, "toUsers": []})
        assert resolve_grant(grant(**manifest), declared, LABELS) == resolve_grant(without, declared, LABELS)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("payroll-managers", "payroll-managers"),
        ("/hr/staff", "/hr/staff"),
        ("HR Staff", '"HR Staff"'),
        ("Zürich", '"Zürich"'),
        ('a", all users', '"a\\", all users"'),
        ("staff\u202e", '"staff\\u202e"'),
        ("a\nb", '"a\\nb"'),
    ],
)
def test_no_part_of_a_groups_name_reads_like_a_part_of_a_message(name: str, shown: str) -> None:
    assert quoted_group(name) == shown
