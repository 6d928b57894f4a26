"""The previous release grants less on records and manifests with roles and grants to users, never more."""

from dataclasses import replace
from typing import Any

import pytest

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import (
    HttpAccess,
    HttpRule,
    ResolvedGrant,
    ResourceServerRecord,
    Role,
    UserGrant,
)
from tests.cases.crd_rules import manifest
from tests.harness.previous_release import PreviousRelease, TokenRequest
from tests.harness.samples import PAYROLL, SECRET, client_record, server_record

SCOPES = ("payroll.read", "payroll.write")
CLIENT = client_record(access=(RequestedAccess("payroll/payroll-api", SCOPES),))
EVERY_USER = UserGrant(SCOPES, roles=("manager",), all_users=True, everybody=True)
THROUGH_THE_CLIENT = UserGrant(SCOPES, groups=("staff",), clients=(CLIENT.client_id,), namespaces=("leave",))


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> PreviousRelease:
    return PreviousRelease(tmp_path_factory.mktemp("previous"))


def _scopes(previous: PreviousRelease, record: ResourceServerRecord) -> frozenset[str]:
    """What the client gets from an issuer of the previous release: in one token, and by a request for each scope."""
    requests = [
        TokenRequest(CLIENT.client_id, SECRET, {"resource": PAYROLL, **scope})
        for scope in ({}, *({"scope": name} for name in SCOPES))
    ]
    answers = previous.tokens([CLIENT, record], requests)
    assert all("roles" not in answer.claims for answer in answers)
    return frozenset[str]().union(*(answer.scopes for answer in answers))


@pytest.mark.parametrize("to_clients", [(), (ResolvedGrant(("payroll.read",), namespaces=("leave",)),)], ids=str)
def test_a_client_gets_nothing_by_grants_to_users(
    previous: PreviousRelease, to_clients: tuple[ResolvedGrant, ...]
) -> None:
    new = replace(
        server_record(grants=to_clients),
        user_grants=(EVERY_USER, THROUGH_THE_CLIENT),
        roles=(Role("manager", SCOPES),),
        descriptions={"payroll.read": "Read salaries"},
    )
    assert _scopes(previous, new) == {scope for g in to_clients for scope in g.scopes}


def test_a_role_granted_to_a_client_gives_its_scopes_alone(previous: PreviousRelease) -> None:
    by_role = ResolvedGrant(SCOPES, namespaces=("leave",), roles=("manager",))
    record = server_record(grants=(by_role,), roles=(Role("manager", SCOPES),))
    assert _scopes(previous, record) == set(SCOPES)


def test_hostnames_and_rules_change_nothing(previous: PreviousRelease) -> None:
    """It has no gateway. Its issuer reads the rest of the record, and its operator the rest of the manifest."""
    grants = (ResolvedGrant(("payroll.read",), namespaces=("leave",)),)
    rules = (HttpRule("read", ("/salaries/**",), ("GET",), scopes=("payroll.read",)), HttpRule("all", ("/**",)))
    http = HttpAccess(("payroll.hr.example",), rules=rules, refused=("/healthz",))
    assert _scopes(previous, server_record(grants=grants, http=http)) == {"payroll.read"}
    spec = {"http": {"rules": [{"name": "all", "paths": ["/**"], "authentication": "Required"}]}}
    assert previous.refuses(manifest("ResourceServer", spec))[0] == ""


@pytest.mark.parametrize(
    "spec",
    [
        {"to": None, "toUsers": [{"allUsers": True, "through": {"allNamespaces": True}}]},
        {"scopes": None, "roles": ["manager"]},
        {"scopes": [], "roles": ["manager"]},
    ],
    ids=str,
)
def test_a_manifest_of_users_or_roles_alone_is_ignored(previous: PreviousRelease, spec: dict[str, Any]) -> None:
    """An operator of the previous release does not read the object: it grants nothing by it."""
    reason, violations = previous.refuses(manifest("ScopeGrant", spec))
    assert reason == "Invalid"
    assert violations


def test_a_manifest_with_both_keeps_what_it_grants_to_clients(previous: PreviousRelease) -> None:
    spec = {"roles": ["manager"], "toUsers": [{"allUsers": True, "through": {"allNamespaces": True}}]}
    assert previous.refuses(manifest("ScopeGrant", spec))[0] == ""
    roles = {"roles": [{"name": "manager", "scopes": ["payroll.read"]}]}
    assert previous.refuses(manifest("ResourceServer", roles))[0] == ""
