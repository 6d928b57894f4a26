"""Refresh tokens: which rotate, what a replay ends, and when they end by themselves."""

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.core.records.client import Login
from scopewright.issuer.users.user_record import MAX_FAMILIES_PER_CLIENT
from scopewright.stores.sessions.sqlite import SqliteSessions
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import PAYROLL
from tests.unit.issuer.users.logins import (
    CALLBACK,
    CLIENT_ID,
    Logins,
    other_client,
    public_client,
    running_logins,
    user,
    web_client,
)


@pytest.fixture
async def public() -> AsyncIterator[Logins]:
    async with running_logins(public_client()) as logins:
        yield logins


async def refresh(logins: Logins, token: str, **changes: Any) -> httpx.Response:
    """A refresh by the public client."""
    return await logins.refresh(token, secret=None, **changes)


async def next_token(logins: Logins, token: str) -> str:
    response = await refresh(logins, token)
    assert response.status_code == 200, response.text
    return str(response.json()["refresh_token"])


async def userinfo(logins: Logins, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return (await logins.harness.http.get("/userinfo", headers=headers)).status_code


async def test_a_confidential_client_keeps_its_token() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens()
        for _ in range(3):
            response = await logins.refresh(tokens["refresh_token"])
            assert response.json()["refresh_token"] == tokens["refresh_token"]


async def test_an_id_token_of_a_refresh_is_about_the_same_login() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens()
        logins.harness.clock.advance(minutes=5)
        refreshed = (await logins.refresh(tokens["refresh_token"])).json()
        first, second = [await logins.verified(t["id_token"], CLIENT_ID) for t in (tokens, refreshed)]
        assert second["iat"] == first["iat"] + 300
        assert {name: second[name] for name in ("sub", "aud", "auth_time", "sid", "iss")} == {
            name: first[name] for name in ("sub", "aud", "auth_time", "sid", "iss")
        }
        assert "nonce" not in second


async def test_the_token_is_that_of_its_client_alone() -> None:
    async with running_logins() as logins:
        await logins.put(other_client())
        token = (await logins.tokens())["refresh_token"]
        assert (await logins.refresh(token, client="leave.other", secret="B" * 43)).json()["error"] == "invalid_grant"
        assert (await logins.refresh(token, secret="C" * 43)).status_code == 401
        assert (await logins.refresh(token, secret=None)).status_code == 401
        assert (await logins.refresh(token)).status_code == 200


async def test_a_client_that_became_public_keeps_no_unbound_token() -> None:
    async with running_logins() as logins:
        token = (await logins.tokens())["refresh_token"]
        await logins.put(public_client())
        assert (await refresh(logins, token)).json()["error"] == "invalid_grant"


async def test_that_of_a_public_client_rotates(public: Logins) -> None:
    token = (await public.tokens())["refresh_token"]
    seen = {token}
    for _ in range(5):
        token = await next_token(public, token)
        seen.add(token)
    assert len(seen) == 6


async def test_a_lost_answer_gives_the_same_successor_again(public: Logins) -> None:
    first = (await public.tokens())["refresh_token"]
    second = await next_token(public, first)
    public.harness.clock.advance(seconds=30)
    assert await next_token(public, first) == second
    await next_token(public, second)


async def test_a_replay_after_half_a_minute_ends_the_family_and_its_tokens(public: Logins) -> None:
    tokens = await public.tokens(access=())
    second = (await refresh(public, tokens["refresh_token"])).json()
    other = await public.tokens(user(), access=())
    public.harness.clock.advance(seconds=31)
    assert (await refresh(public, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert '"reason":"refresh_token_replayed"' in public.harness.audit_lines[-1]
    assert (await refresh(public, second["refresh_token"])).json()["error"] == "invalid_grant"
    assert await userinfo(public, tokens["access_token"]) == 401
    assert await userinfo(public, second["access_token"]) == 401
    assert await userinfo(public, other["access_token"]) == 200, "another login of the user goes on"


async def test_a_replay_after_the_successor_was_used_ends_the_family(public: Logins) -> None:
    """The thief came second: two tokens back is a replay at any time."""
    first = (await public.tokens())["refresh_token"]
    third = await next_token(public, await next_token(public, first))
    assert (await refresh(public, first)).status_code == 400
    assert (await refresh(public, third)).status_code == 400


async def test_a_forged_token_ends_nothing(public: Logins) -> None:
    first = (await public.tokens())["refresh_token"]
    second = await next_token(public, first)
    sid, handle, generation, mac = second.split(".")
    for forged in (
        f"{sid}.{handle}",
        f"{sid}.{handle}.{int(generation) + 1}.{mac}",
        f"{sid}.{handle}.1.{mac}",
        f"{sid}.{handle}.{generation}.{'A' * 43}",
        f"{'A' * 22}.{handle}.{generation}.{mac}",
        f"{sid}.{handle}.{generation}.{mac}.",
        f"{sid}.{handle}.0{generation}.{mac}",
    ):
        assert (await refresh(public, forged)).json()["error"] == "invalid_grant"
    assert (await refresh(public, second)).status_code == 200


async def test_a_token_ahead_of_the_store_shows_that_the_store_went_back(caplog: pytest.LogCaptureFixture) -> None:
    store = MemorySessions()
    async with running_logins(public_client(), store) as logins:
        token = (await logins.tokens())["refresh_token"]
        backup = dict(store._entries)
        for _ in range(3):
            token = await next_token(logins, token)
        store._entries = backup
        with caplog.at_level(logging.WARNING):
            token = await next_token(logins, token)
        assert "went back" in caplog.text
        assert token not in caplog.text
        assert token.split(".")[2] == "5"
        await next_token(logins, token)


@pytest.mark.parametrize("kind", ["public", "confidential"])
async def test_fifty_concurrent_refreshes_on_sqlite(kind: str, tmp_path: Path) -> None:
    store = SqliteSessions(tmp_path / "sessions.db")
    record = public_client() if kind == "public" else web_client()
    async with running_logins(record, store) as logins:
        first = (await logins.tokens())["refresh_token"]
        secret: dict[str, Any] = {"secret": None} if kind == "public" else {}
        responses = await asyncio.gather(*(logins.refresh(first, **secret) for _ in range(50)))
        assert {r.status_code for r in responses} == {200}
        [successor] = {r.json()["refresh_token"] for r in responses}
        assert (successor == first) == (kind == "confidential")
        assert (await logins.refresh(successor, **secret)).status_code == 200
    await store.close()


@pytest.mark.parametrize("record", [web_client, public_client])
async def test_it_ends_when_it_is_not_used_and_at_its_maximum(record: Any) -> None:
    login = Login((CALLBACK,), refresh_idle_timeout=3600, refresh_max_lifetime=4 * 3600)
    async with running_logins(record(login=login)) as logins:
        secret: dict[str, Any] = {"secret": None} if logins.record.public else {}
        idle, used = (await logins.tokens())["refresh_token"], (await logins.tokens())["refresh_token"]
        for _ in range(5):
            logins.harness.clock.advance(minutes=45)
            response = await logins.refresh(used, **secret)
            assert response.status_code == 200, response.text
            used = response.json()["refresh_token"]
        assert (await logins.refresh(idle, **secret)).status_code == 400
        logins.harness.clock.advance(minutes=20)
        assert (await logins.refresh(used, **secret)).status_code == 400


async def test_the_last_use_is_written_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_logins() as logins:
        token = (await logins.tokens())["refresh_token"]
        writes = 0
        write = MemorySessions.write

        async def counted(self: MemorySessions, *changes: Any) -> bool:
            nonlocal writes
            writes += 1
            return await write(self, *changes)

        monkeypatch.setattr(MemorySessions, "write", counted)
        for _ in range(10):
            logins.harness.clock.advance(minutes=1)
            assert (await logins.refresh(token)).status_code == 200
        assert writes == 2


async def test_it_ends_with_its_session() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        token = (await logins.redeem(await logins.code(session))).json()["refresh_token"]
        await logins.sessions.end(session.sid)
        assert (await logins.refresh(token)).json()["error"] == "invalid_grant"


async def test_with_offline_access_it_outlives_the_session_and_its_tokens_work() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        code = await logins.code(session, scopes=("openid", "email", "offline_access"), access=())
        tokens = (await logins.redeem(code)).json()
        assert (await logins.verified(tokens["id_token"], CLIENT_ID))["sid"] == session.sid
        await logins.sessions.end(session.sid)
        refreshed = (await logins.refresh(tokens["refresh_token"])).json()
        assert (await logins.verified(refreshed["id_token"], CLIENT_ID))["sid"] == session.sid
        assert await userinfo(logins, refreshed["access_token"]) == 200
        await logins.sessions.end_user(session.subject)
        assert (await logins.refresh(tokens["refresh_token"])).status_code == 400
        assert await userinfo(logins, refreshed["access_token"]) == 401


async def test_offline_access_gives_no_cookie() -> None:
    async with running_logins() as logins:
        tokens = await logins.tokens(scopes=("openid", "offline_access"))
        sid = tokens["refresh_token"].partition(".")[0]
        assert await logins.sessions.of_sid(sid) is not None
        for secret in ("", "A" * 43):
            assert await logins.sessions.of_cookie(f"{sid}.{secret}") is None


async def test_the_oldest_of_too_many_families_ends() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        tokens = []
        for _ in range(MAX_FAMILIES_PER_CLIENT + 1):
            tokens.append((await logins.redeem(await logins.code(session))).json()["refresh_token"])
        assert (await logins.refresh(tokens[0])).status_code == 400
        assert (await logins.refresh(tokens[1])).status_code == 200
        assert (await logins.refresh(tokens[-1])).status_code == 200


async def test_scopes_may_shrink_and_never_grow() -> None:
    async with running_logins() as logins:
        token = (await logins.tokens(scopes=("openid",)))["refresh_token"]
        for scope, error in (
            ("email", "invalid_target"),
            ("openid other", "invalid_scope"),
            ("offline_access", "invalid_target"),
        ):
            response = await logins.refresh(token, scope=scope)
            assert (response.status_code, response.json()["error"]) == (400, error)
        # An application repeats the scopes of its authorization request, some of which the user does not have.
        assert (await logins.refresh(token, scope="openid email payroll.read payroll.write")).json()[
            "scope"
        ] == "openid payroll.read"
        narrowed = (await logins.refresh(token, scope="payroll.read")).json()
        assert narrowed["scope"] == "payroll.read"
        assert "id_token" not in narrowed
        whole = (await logins.refresh(token)).json()
        assert whole["scope"] == "openid payroll.read"


async def test_without_the_grant_type_there_is_no_refresh_token() -> None:
    async with running_logins(web_client(grant_types=("authorization_code",))) as logins:
        tokens = await logins.tokens()
        assert "refresh_token" not in tokens
        response = await logins.refresh(f"{'A' * 22}.{'A' * 43}")
        assert response.json()["error"] == "unauthorized_client"


async def test_it_can_be_revoked_with_all_tokens_of_its_grant(public: Logins) -> None:
    tokens = await public.tokens(access=())
    second = (await refresh(public, tokens["refresh_token"])).json()
    other = await public.tokens(access=())
    assert (await public.post({"token": second["refresh_token"]}, None, "/revoke")).status_code == 200
    assert '"result":"revoked"' in public.harness.audit_lines[-1]
    assert (await refresh(public, second["refresh_token"])).json()["error"] == "invalid_grant"
    assert [await userinfo(public, t["access_token"]) for t in (tokens, second, other)] == [401, 401, 200]


async def test_nobody_revokes_the_token_of_another_client() -> None:
    async with running_logins() as logins:
        await logins.put(other_client())
        token = (await logins.tokens())["refresh_token"]
        response = await logins.post({"token": token, "client": "leave.other"}, "B" * 43, "/revoke")
        assert response.status_code == 200
        assert '"reason":"not_theirs"' in logins.harness.audit_lines[-1]
        assert (await logins.refresh(token)).status_code == 200


async def test_an_access_token_can_be_revoked_alone(public: Logins) -> None:
    tokens = await public.tokens(access=())
    assert (await public.post({"token": tokens["access_token"]}, None, "/revoke")).status_code == 200
    assert await userinfo(public, tokens["access_token"]) == 401
    assert await userinfo(public, (await refresh(public, tokens["refresh_token"])).json()["access_token"]) == 200


async def test_the_store_holds_no_token() -> None:
    """Neither in the clear nor sealed: values are opened and searched."""
    store = MemorySessions()
    async with running_logins(public_client(), store) as logins:
        token = (await logins.tokens())["refresh_token"]
        handle = token.split(".")[1]
        opened: list[bytes] = []
        read = await logins.sealed.read(f"user:{user().subject}")
        opened += [value.value for value in read.values if value]
        assert opened
        assert all(handle.encode() not in value for value in opened)
        assert all(handle.encode() not in key + stored.value for key, (stored, _) in store._entries.items())
        assert PAYROLL.encode() not in b"".join(stored.value for stored, _ in store._entries.values())
