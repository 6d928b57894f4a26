"""Logins whose provider cannot be asked about the user any more, such as one that gave no refresh token."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from scopewright.issuer.upstream.authenticated_user import UpstreamTokens
from scopewright.issuer.upstream.login import LoginUnconfirmable
from scopewright.issuer.users import upstream_checks
from scopewright.issuer.users.upstream_checks import RETRY_SECONDS
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    DOWN,
    INTERVAL_SECONDS,
    READ,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)

MAX_AGE_SECONDS = 4 * 3600
KEPT = UpstreamTokens(access_token="access-0")
NO_WAY = LoginUnconfirmable("Refused", "the access token has ended", KEPT)
WITHOUT_REFRESH_TOKEN = replace(ADA, upstream=KEPT)
AWAY = (503, "temporarily_unavailable")
ENDED = (400, "invalid_grant")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.5)


@pytest.fixture
async def at() -> AsyncIterator[CheckedSessions]:
    async with running_checked_sessions((provider_of("company", check_max_age=MAX_AGE_SECONDS),)) as sessions:
        yield sessions


@pytest.mark.parametrize("offline", [False, True])
async def test_the_session_ends_when_the_last_answer_is_too_old(at: CheckedSessions, offline: bool) -> None:
    """Until then the stored groups count."""
    cookie, session = await at.log_in(WITHOUT_REFRESH_TOKEN)
    token = await at.refresh_token(session, offline=offline)
    at.upstream.failure = NO_WAY
    at.clock.advance(seconds=MAX_AGE_SECONDS - 1)
    assert scope_of(await at.refresh(token)) == READ
    assert (login := await at.stored_login(session.sid)) is not None
    assert (login.tokens, login.problem) == (KEPT, "no_answer")
    at.clock.advance(seconds=RETRY_SECONDS)
    responses = await asyncio.gather(*(at.refresh(token) for _ in range(10)))
    assert {refusal_of(response) for response in responses} == {ENDED}
    assert await at.logins.sessions.of_cookie(cookie, idle_too=True) is None
    assert await at.stored_login(session.sid) is None
    [revoked] = at.logins.harness.issuer.background.revocations.record.sessions.values()
    assert len(revoked) == 1 + offline, "access tokens end too"
    lines = [json.loads(line) for line in at.logins.harness.audit_lines]
    ended = [line["reason"] for line in lines if line["event"] == "session"]
    assert ended == ["not_confirmed"] * (1 + offline)


async def test_a_provider_that_is_away_ends_no_session_before_it_answers(at: CheckedSessions) -> None:
    _, session = await at.log_in(WITHOUT_REFRESH_TOKEN)
    token = await at.refresh_token(session, offline=True)
    at.upstream.failure = DOWN
    at.clock.advance(seconds=MAX_AGE_SECONDS)
    for _ in range(3):
        assert refusal_of(await at.refresh(token)) == AWAY
        at.clock.advance(seconds=INTERVAL_SECONDS)
    at.upstream.failure = NO_WAY
    assert refusal_of(await at.refresh(token)) == ENDED


async def test_the_store_that_fails_at_the_end_is_asked_again(at: CheckedSessions) -> None:
    _, session = await at.log_in(WITHOUT_REFRESH_TOKEN)
    token = await at.refresh_token(session)
    at.upstream.failure = NO_WAY
    at.clock.advance(seconds=MAX_AGE_SECONDS)
    request = await at.question_on_its_way(token)
    at.store.is_full = True
    at.upstream.may_answer.set()
    assert refusal_of(await request) == ENDED
    at.store.is_full = False
    await asyncio.sleep(0.3)
    assert await at.stored_login(session.sid) is None
