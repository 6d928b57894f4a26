"""Browser sessions and refresh tokens with offline_access that share one login at an OpenID provider."""

import asyncio

import pytest

from scopewright.core.records.client import Login
from scopewright.issuer.users import upstream_checks
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    BOTH,
    DOWN,
    READ,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)
from tests.unit.issuer.users.logins import CALLBACK, web_client


async def test_offline_tokens_outlive_the_browser_while_the_provider_confirms_the_user(at: CheckedSessions) -> None:
    login = Login((CALLBACK,), refresh_idle_timeout=10 * 86400, refresh_max_lifetime=30 * 86400)
    await at.logins.put(web_client(login=login))
    cookie, session = await at.log_in()
    token = await at.refresh_token(session, offline=True)
    for _ in range(4):
        at.clock.advance(hours=100)
        assert scope_of(await at.refresh(token)) == READ
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert len(at.upstream.asked) == 4
    at.deletes_ada()
    at.clock.advance(hours=1)
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert await at.stored_login(session.sid) is None


async def test_the_browser_and_its_offline_tokens_share_one_refresh_token_of_the_provider(at: CheckedSessions) -> None:
    """A provider that rotates ends the login if an old one is sent."""
    _, session = await at.log_in()
    offline, browser = await at.refresh_token(session, offline=True), await at.refresh_token(session)
    for _ in range(3):
        at.becomes_due()
        responses = await asyncio.gather(*(at.refresh(token) for token in (offline, browser) for _ in range(5)))
        assert {scope_of(response) for response in responses} == {READ}
    assert not at.upstream.replayed
    assert len(at.upstream.asked) == 3
    for token in (offline, browser):
        await at.refresh(token)
        stored = await at.logins.sessions.of_sid(token.split(".")[0])
        assert stored is not None
        assert stored.checked_time == int(at.clock()), "the answer to the other session"


@pytest.mark.parametrize("not_asked", [False, True], ids=["no_answer", "not_asked"])
async def test_without_an_answer_a_session_has_what_the_login_last_had(
    monkeypatch: pytest.MonkeyPatch, not_asked: bool
) -> None:
    """Another session of the login asked. What this one had before is too old."""
    async with running_checked_sessions((provider_of("company", check_max_age=4 * 3600),)) as at:
        _, session = await at.log_in()
        offline, browser = await at.refresh_token(session, offline=True), await at.refresh_token(session)
        at.says("managers")
        at.clock.advance(hours=3)
        assert scope_of(await at.refresh(browser)) == BOTH
        at.upstream.failure = DOWN
        if not_asked:
            monkeypatch.setattr(upstream_checks, "MAX_CHECKS_PER_PROVIDER", 0)
        at.clock.advance(hours=2)
        assert scope_of(await at.refresh(offline)) == BOTH
        at.clock.advance(hours=2)
        assert refusal_of(await at.refresh(offline)) == (503, "temporarily_unavailable")


async def test_without_an_answer_a_session_has_no_group_that_its_login_lost(at: CheckedSessions) -> None:
    """Its own copy is older, and still within `maxAge`."""
    _, session = await at.log_in()
    offline, browser = await at.refresh_token(session, offline=True), await at.refresh_token(session)
    at.says("managers")
    at.becomes_due()
    assert {scope_of(await at.refresh(token)) for token in (offline, browser)} == {BOTH}
    at.says("hr-staff")
    at.becomes_due()
    assert scope_of(await at.refresh(browser)) == READ
    at.upstream.failure = DOWN
    at.becomes_due()
    refreshed = await at.refresh(offline)
    assert scope_of(refreshed) == READ
    stored = await at.logins.sessions.of_sid(offline.split(".")[0])
    assert stored is not None
    assert stored.groups == ("hr-staff",), "for userinfo and introspection too"


@pytest.mark.parametrize("asks_offline", [False, True])
async def test_all_sessions_of_a_login_end_when_the_provider_ends_it(at: CheckedSessions, asks_offline: bool) -> None:
    """They share its refresh token. Those of another login have their own check."""
    cookie, session = await at.log_in()
    offline, browser = await at.refresh_token(session, offline=True), await at.refresh_token(session)
    other = await at.logged_in()
    at.deletes_ada()
    at.becomes_due()
    first, then = (offline, browser) if asks_offline else (browser, offline)
    for token in (first, then):
        assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert len(at.upstream.asked) == 1
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await at.stored_login(session.sid) is None
    assert await at.logins.sessions.of_sid(other.split(".")[0]) is not None


async def test_what_is_known_of_a_login_is_deleted_with_its_last_session(at: CheckedSessions) -> None:
    _, session = await at.log_in()
    offline = await at.refresh_token(session, offline=True)
    sessions = at.logins.sessions_with_revocations()
    await sessions.end(session.sid)
    assert await at.stored_login(session.sid) is not None
    at.becomes_due()
    assert scope_of(await at.refresh(offline)) == READ
    await sessions.end_user(ADA.subject)
    assert await at.stored_login(session.sid) is None
    _, other = await at.log_in()
    await sessions.end(other.sid)
    assert await at.stored_login(other.sid) is None
