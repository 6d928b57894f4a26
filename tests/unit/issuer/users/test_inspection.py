"""Introspection and revocation of tokens of users: what ends them, by the records and without the session store."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from scopewright.core.records.client import Login, RequestedAccess
from scopewright.core.records.names import key_record_name
from scopewright.core.records.resource_server import ResourceServerRecord, Role, UserGrant
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.core.revocation_keys import audience_key, session_key, token_key, user_key
from scopewright.core.user_revocations import ended_sessions
from scopewright.issuer.users.sessions import UserSessions
from tests.harness.clock import START, Clock
from tests.harness.issuer import settle
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import (
    BANK_SERVICE,
    ISSUER,
    PAYROLL,
    PAYROLL_SERVICE,
    key_record,
    server_record,
    service_record,
)
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    Logins,
    granting_server,
    running_logins,
    user,
    web_client,
)
from tests.unit.issuer.users.watched_sessions import watched

INACTIVE = {"active": False}
BOTH = ("client_credentials", "authorization_code", "refresh_token")
STAFF, MANAGERS = granting_server().user_grants


async def manager_token(logins: Logins) -> str:
    """A token of a manager for payroll-api, which its service may introspect."""
    await logins.put(granting_server(served_by=(PAYROLL_SERVICE,)), service_record("payroll"), service_record("bank"))
    return str((await logins.tokens(user("ada", "hr-staff", "managers")))["access_token"])


def reason(logins: Logins) -> str:
    return next(line for line in reversed(logins.harness.audit_lines) if '"introspection"' in line)


async def test_17_api_sees_who_the_user_is_by_subject_roles_and_login() -> None:
    async with running_logins() as logins:
        token = await manager_token(logins)
        for client_id in (CLIENT_ID, PAYROLL_SERVICE):
            content = await logins.harness.introspect(token, client_id)
            assert content["active"] is True
            assert content["sub"] == user().subject
            assert (content["client_id"], content["roles"]) == (CLIENT_ID, ["manager"])
            assert content["auth_time"] == user().auth_time
            assert content["sid"]
            assert content.keys().isdisjoint({"username", "name", "email", "groups"})
        assert await logins.harness.introspect(token, BANK_SERVICE) == INACTIVE


async def test_17_acr_and_amr_of_the_login_are_in_the_answer() -> None:
    async with running_logins() as logins:
        content = await logins.tokens(replace(user(), acr="gold", amr=("pwd", "otp")))
        answer = await logins.harness.introspect(content["access_token"])
        assert (answer["acr"], answer["amr"]) == ("gold", ["pwd", "otp"])


async def test_17_token_for_userinfo_is_introspected_by_its_own_client_only() -> None:
    async with running_logins() as logins:
        await manager_token(logins)
        token = (await logins.tokens(access=()))["access_token"]
        answer = await logins.harness.introspect(token)
        assert (answer["active"], answer["aud"]) == (True, ISSUER)
        assert await logins.harness.introspect(token, PAYROLL_SERVICE) == INACTIVE
        await logins.put(web_client(disabled=True))
        await logins.put(web_client())
        assert await logins.harness.introspect(token) == INACTIVE


async def test_19_no_session_is_read() -> None:
    store, settings = watched()
    async with running_logins(**settings) as logins:
        token = await manager_token(logins)
        store.is_away, reads = True, store.reads
        assert (await logins.harness.introspect(token, PAYROLL_SERVICE))["active"] is True
        await logins.harness.revoke(token)
        assert store.reads == reads


ENDS: dict[str, tuple[Any, str]] = {
    "the client is disabled": (web_client(disabled=True), "client_disabled"),
    "the client is recreated": (web_client(uid="another"), "client_gone"),
    "no login": (web_client(login=None), "login_withdrawn"),
    "no authorization_code": (web_client(grant_types=("client_credentials",)), "grant_type_withdrawn"),
    "no refresh_token": (web_client(grant_types=("authorization_code",)), "revoked"),
    "a narrower login": (web_client(login=Login((CALLBACK,), allowed_groups=("others",))), "revoked"),
    "a manifest that no longer asks": (
        web_client(access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),)),
        "scope_withdrawn",
    ),
    "a client that requires bound tokens": (web_client(dpop_required=True), "not_bound"),
    "no entry for users": (server_record(), "scope_withdrawn"),
    "entries through other clients": (
        replace(granting_server(), user_grants=(STAFF, replace(MANAGERS, namespaces=("other",)))),
        "scope_withdrawn",
    ),
    "entries for another subject only": (
        replace(granting_server(), user_grants=(STAFF, replace(MANAGERS, groups=(), subjects=("u-other",)))),
        "scope_withdrawn",
    ),
    "a group that the user lacks": (
        replace(granting_server(), user_grants=(STAFF, replace(MANAGERS, groups=("others",)))),
        "revoked",
    ),
    "a scope that is no longer declared": (replace(granting_server(), scopes=("payroll.read",)), "scope_withdrawn"),
    "no role": (replace(granting_server(), roles=()), "role_withdrawn"),
    "a role of more scopes": (
        replace(
            granting_server(),
            scopes=("payroll.read", "payroll.write", "payroll.pay"),
            roles=(Role("manager", ("payroll.read", "payroll.write", "payroll.pay")),),
        ),
        "role_withdrawn",
    ),
    "no role in the entry": (
        replace(granting_server(), user_grants=(STAFF, replace(MANAGERS, roles=()))),
        "role_withdrawn",
    ),
    "an API that requires bound tokens": (replace(granting_server(), dpop_required=True), "not_bound"),
}


def served(record: Any) -> Any:
    return replace(record, served_by=(PAYROLL_SERVICE,)) if isinstance(record, ResourceServerRecord) else record


@pytest.mark.parametrize(("record", "expected"), ENDS.values(), ids=ENDS)
async def test_19_token_of_a_user_ends_with_what_it_was_issued_for(record: Any, expected: str) -> None:
    """A reason `revoked`: only the session knows the groups, so the revocation record has it."""
    async with running_logins() as logins:
        token = await manager_token(logins)
        await logins.put(served(record))
        assert await logins.harness.introspect(token, PAYROLL_SERVICE) == INACTIVE
        assert f'"reason":"{expected}"' in reason(logins)


KEEPS: dict[str, Any] = {
    "no grant to clients": replace(granting_server(), grants=()),
    "another entry": replace(
        granting_server(), user_grants=(STAFF, MANAGERS, UserGrant(("payroll.read",), all_users=True, everybody=True))
    ),
    "a smaller role": replace(granting_server(), roles=(Role("manager", ("payroll.read",)),)),
    "another redirect URI": web_client(login=Login(("https://new.hr.example/callback",))),
}


@pytest.mark.parametrize("record", KEEPS.values(), ids=KEEPS)
async def test_19_token_of_a_user_survives_a_change_that_takes_nothing_from_it(record: Any) -> None:
    async with running_logins() as logins:
        token = await manager_token(logins)
        await logins.put(served(record))
        assert (await logins.harness.introspect(token, PAYROLL_SERVICE))["active"] is True


async def test_19_token_of_a_user_ends_with_its_key() -> None:
    async with running_logins() as logins:
        token = await manager_token(logins)
        logins.harness.delete_object("Secret", key_record_name(key_record().kid))
        await settle()
        assert await logins.harness.introspect(token) == INACTIVE
        assert '"reason":"unknown_or_expired"' in reason(logins)


ENDED: dict[str, Callable[[Mapping[str, Any]], RevocationRecord]] = {
    "session": lambda token: ended_sessions(token["sub"], [token["sid"]], token["iat"] - 100),
    "user": lambda token: RevocationRecord(users={user_key(token["sub"]): token["iat"]}),
    "access": lambda token: RevocationRecord(user_access={audience_key(PAYROLL): token["iat"]}),
    "client": lambda token: RevocationRecord(user_clients={token["jti"][:12]: token["iat"]}),
    "token": lambda token: RevocationRecord(user_tokens={token["jti"][:12]: {token_key(token["jti"]): 1}}),
    "grant": lambda token: RevocationRecord(user_tokens={token["jti"][:12]: {token_key(token["jti"][:24]): 1}}),
    "every user": lambda token: RevocationRecord(every_user=token["iat"]),
}


@pytest.mark.parametrize("ended", ENDED.values(), ids=ENDED)
async def test_19_entry_for_users_ends_a_token_of_a_user_and_none_of_its_client(
    ended: Callable[[Mapping[str, Any]], RevocationRecord],
) -> None:
    async with running_logins(web_client(grant_types=BOTH)) as logins:
        token, own = await manager_token(logins), await logins.harness.access_token(scope="payroll.read")
        of_user, of_client = await logins.harness.introspect(token), await logins.harness.introspect(own)
        assert of_user["active"] is of_client["active"] is True
        logins.harness.issuer.background.revocations.end(ended(of_user))
        assert await logins.harness.introspect(token) == INACTIVE
        assert '"reason":"revoked"' in reason(logins)
        # Even if the entry is about the subject, the client and the `jti` of the token that the client got for itself.
        logins.harness.issuer.background.revocations.end(ended({**of_client, "sid": ""}))
        assert await logins.harness.introspect(own) == of_client


async def test_18_client_revokes_a_token_of_a_user_by_an_entry_for_users() -> None:
    """However many a web application revokes, none of the tokens that it got for itself ends."""
    async with running_logins(web_client(grant_types=BOTH)) as logins:
        token, other = await manager_token(logins), await manager_token(logins)
        jti = (await logins.harness.introspect(token))["jti"]
        await logins.harness.revoke(token)
        assert await logins.harness.introspect(token) == INACTIVE
        assert (await logins.harness.introspect(other))["active"] is True
        record = logins.harness.revocations()
        assert (record.tokens, list(record.user_tokens)) == ({}, [jti[:12]])
        assert token_key(jti) in record.user_tokens[jti[:12]]
        await logins.harness.revoke(other, PAYROLL_SERVICE)
        assert (await logins.harness.introspect(other))["active"] is True, "it is not the token of that client"


async def test_19_withdrawn_consent_ends_the_tokens_of_that_user_at_that_client() -> None:
    async with running_logins() as logins:
        token = await manager_token(logins)
        grace = str((await logins.tokens(user("grace")))["access_token"])
        client = logins.harness.issuer.registry.clients.get(CLIENT_ID)
        assert client is not None
        await logins.consents.withdraw(user("ada").subject, client.uid_hash)
        assert await logins.harness.introspect(token) == INACTIVE
        assert (await logins.harness.introspect(grace))["active"] is True
        logins.harness.clock.advance(seconds=1)
        again = str((await logins.tokens(user("ada")))["access_token"])
        assert (await logins.harness.introspect(again))["active"] is True


async def test_logout_ends_tokens_even_if_the_clock_of_the_session_store_is_hours_behind() -> None:
    """An entry with the time of the store would be dropped as too old."""
    behind = Clock(START - timedelta(hours=6))
    async with running_logins(store=MemorySessions(behind)) as logins:
        token = await manager_token(logins)
        claims = await logins.harness.introspect(token)
        revocations = logins.harness.issuer.background.revocations
        await UserSessions(logins.sealed, revocations.end_sessions).end(claims["sid"])
        for _ in range(1000):
            if logins.harness.revocations().sessions:
                break
            await asyncio.sleep(0.01)
        assert logins.harness.revocations().sessions
        assert await logins.harness.introspect(token) == INACTIVE


async def test_feed_names_neither_user_nor_session_of_a_logout() -> None:
    """Whoever knows the `sub` of a user must not see when the user logs out: the feed is public."""
    async with running_logins() as logins:
        claims = await logins.harness.introspect(await manager_token(logins))
        revocations = logins.harness.issuer.background.revocations
        await UserSessions(logins.sealed, revocations.end_sessions).end(claims["sid"])
        feed = await logins.harness.http.get("/revocations")
        assert feed.json()["sessions"] == [session_key(claims["sid"])]
        assert not any(part in feed.text for part in (claims["sub"], user_key(claims["sub"]), claims["sid"]))


async def test_id_token_is_neither_introspected_nor_exchanged_nor_revoked() -> None:
    async with running_logins() as logins:
        await manager_token(logins)
        id_token = str((await logins.tokens())["id_token"])
        assert await logins.harness.introspect(id_token) == INACTIVE
        await logins.harness.revoke(id_token)
        assert logins.harness.issuer.background.revocations.record.user_tokens == {}
        assert (await logins.harness.exchange(id_token, PAYROLL_SERVICE, PAYROLL)).status_code == 400
