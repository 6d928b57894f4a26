"""Roles in tokens of clients, and the access of users as the issuer computes it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, Role, UserGrant
from scopewright.core.users import User, subject_of
from scopewright.issuer.state.entries import NEVER, UserScopes
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import client_record, server_record

BOTH = ("payroll.read", "payroll.write")
ACCESS = (RequestedAccess("payroll/payroll-api", BOTH),)
MANAGER, READER = Role("manager", BOTH), Role("reader", ("payroll.read",))
ADA = subject_of("https://login.example", "ada")


def api(*grants: ResolvedGrant, roles: tuple[Role, ...] = (MANAGER, READER)) -> ResourceServerRecord:
    return server_record(grants=grants, roles=roles)


def granted(*roles: str, scopes: tuple[str, ...] = BOTH, **ends_in: float) -> ResolvedGrant:
    end = START + timedelta(**ends_in) if ends_in else None
    return ResolvedGrant(scopes, namespaces=("leave",), roles=roles, not_after=end)


async def roles(harness: IssuerHarness, client_id: str = "leave.leave-worker", **parameters: str) -> object:
    return (await harness.claims(await harness.token(client_id, **parameters))).get("roles")


async def test_a_token_has_the_granted_roles_that_its_scopes_complete(harness: IssuerHarness) -> None:
    harness.put(client_record(access=ACCESS))
    harness.put(api(granted("manager", "reader")))
    await settle()
    assert await roles(harness) == ["manager", "reader"]
    assert await roles(harness, scope="payroll.read") == ["reader"]
    assert await roles(harness, scope="payroll.write") is None
    assert await roles(harness, scope="payroll.write payroll.read") == ["manager", "reader"]


async def test_a_role_that_is_not_granted_is_not_in_a_token_with_all_its_scopes(harness: IssuerHarness) -> None:
    harness.put(client_record(access=ACCESS))
    harness.put(api(granted("reader")))
    await settle()
    assert await roles(harness) == ["reader"]
    harness.put(api(granted()))
    await settle()
    assert await roles(harness) is None


async def test_a_role_granted_to_another_namespace_is_not_in_the_token(harness: IssuerHarness) -> None:
    harness.put(client_record(access=ACCESS))
    harness.put(api(granted(), replace(granted("manager"), namespaces=("staff",))))
    await settle()
    assert await roles(harness) is None


async def test_a_role_whose_scopes_the_client_does_not_ask_for_is_not_in_the_token(harness: IssuerHarness) -> None:
    harness.put(api(granted("manager", "reader")))
    await settle()
    assert await roles(harness) == ["reader"]


async def test_clients_of_the_namespace_of_the_api_have_all_its_roles(harness: IssuerHarness) -> None:
    harness.put(client_record(namespace="payroll", access=ACCESS))
    harness.put(api())
    await settle()
    assert await roles(harness, "payroll.leave-worker") == ["manager", "reader"]


async def test_a_role_ends_with_its_grant_and_the_scopes_stay(harness: IssuerHarness) -> None:
    harness.put(client_record(access=ACCESS))
    harness.put(api(granted(), granted("manager", seconds=90)))
    await settle()
    claims = await harness.claims(await harness.token())
    assert (claims["roles"], claims["exp"] - claims["iat"]) == (["manager"], 90)
    harness.clock.advance(seconds=90)
    claims = await harness.claims(await harness.token())
    assert (claims.get("roles"), claims["exp"] - claims["iat"]) == (None, 600)


async def test_a_role_that_gains_a_scope_is_lost_without_it(harness: IssuerHarness) -> None:
    harness.put(api(granted("reader")))
    await settle()
    assert await roles(harness) == ["reader"]
    harness.put(api(granted("reader"), roles=(replace(READER, scopes=BOTH),)))
    await settle()
    assert await roles(harness) is None


async def test_a_role_of_a_record_that_declares_none_is_ignored(harness: IssuerHarness) -> None:
    harness.put(api(granted("manager"), roles=()))
    await settle()
    assert await roles(harness) is None


async def test_the_roles_of_a_client_are_computed_once(harness: IssuerHarness) -> None:
    harness.put(client_record(access=ACCESS))
    harness.put(api(granted("manager")))
    await settle()
    await harness.token()
    client = harness.issuer.registry.clients.get("leave.leave-worker")
    assert client is not None
    assert client.access is not None
    before = client.access["payroll/payroll-api"].last_granted
    await harness.token()
    assert client.access["payroll/payroll-api"].last_granted is before


async def test_a_grant_to_users_gives_a_client_no_token(harness: IssuerHarness) -> None:
    """Not even one of the API's own namespace, if the API declares nothing else."""
    everything = UserGrant(BOTH, roles=("manager",), all_users=True, everybody=True)
    harness.put(client_record(access=ACCESS))
    harness.put(replace(api(), user_grants=(everything,)))
    await settle()
    assert (await harness.token()).json()["error"] == "invalid_target"


async def test_a_user_grant_with_an_impossible_end_makes_the_record_malformed(
    harness: IssuerHarness, caplog: pytest.LogCaptureFixture
) -> None:
    """The last valid record is kept, as for grants to clients."""
    text = b'{"namespace":"payroll","name":"payroll-api","uid":"u","audience":"https://payroll-api.payroll.svc",'
    text += b'"scopes":["payroll.read"],"userGrants":[{"scopes":["payroll.read"],"allUsers":true,"notAfter":"soon"}]}'
    harness.put_object(
        "ConfigMap", "resourceserver.payroll.payroll-api", {"record.json": text}, label="resource-server"
    )
    await settle()
    assert (await harness.token()).status_code == 200
    assert "ignoring" in caplog.text


async def user_scopes(harness: IssuerHarness, *user_grants: UserGrant, groups: tuple[str, ...] = ()) -> UserScopes:
    harness.put(client_record(access=ACCESS))
    harness.put(replace(api(granted("manager")), user_grants=user_grants))
    await settle()
    registry = harness.issuer.registry
    client = registry.clients.get("leave.leave-worker")
    assert client is not None
    server = registry.server_of(client.requested[0])
    assert server is not None
    now = harness.clock()
    return registry.user_access(client, client.requested[0], server, User(ADA, groups), now)


async def test_the_access_of_a_user_does_not_depend_on_the_grants_of_the_client(harness: IssuerHarness) -> None:
    access = await user_scopes(harness)
    assert (access.scope_ends, access.role_ends) == ({}, {})


async def test_the_access_of_a_user_has_its_ends_in_seconds(harness: IssuerHarness) -> None:
    access = await user_scopes(
        harness,
        UserGrant(("payroll.read",), groups=("staff",), namespaces=("leave",)),
        UserGrant(BOTH, ("manager",), subjects=(ADA,), namespaces=("leave",), not_after=START + timedelta(seconds=90)),
        UserGrant(BOTH, ("reader",), groups=("directors",), namespaces=("leave",)),
        groups=("staff",),
    )
    end = START.timestamp() + 90
    assert access.scope_ends == {"payroll.read": NEVER, "payroll.write": end}
    assert access.role_ends == {"manager": end}
    both, read = access.grant(BOTH), access.grant(("payroll.read",))
    assert (both.roles, both.not_after) == (("manager",), end)
    assert (read.roles, read.not_after) == ((), NEVER)
    assert access.grant(BOTH) is not both, "what belongs to a user is never shared"


async def test_the_entries_of_a_grant_share_its_scopes_in_memory(harness: IssuerHarness) -> None:
    await user_scopes(
        harness,
        UserGrant(BOTH, ("manager",), groups=("staff",), everybody=True),
        UserGrant(BOTH, ("manager",), groups=("directors",), everybody=True),
    )
    server = harness.issuer.registry.servers.by_resource("https://payroll-api.payroll.svc")
    assert server is not None
    first, second = server.record.user_grants
    assert first.scopes is second.scopes
    assert first.roles is second.roles
