"""Answers of OpenID providers about the users of sessions: each kind, late ones, and a store that takes none."""

import asyncio
from dataclasses import replace

import pytest

from scopewright.issuer.upstream.login import CheckFailed
from scopewright.issuer.users import upstream_checks
from scopewright.issuer.users.upstream_logins import read_login
from scopewright.issuer.users.user_record import login_handle
from scopewright.stores.sessions.sealed import Forget
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    BOTH,
    DOWN,
    READ,
    ROTATED,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
    too_many_groups,
)

# Answers


async def test_the_session_ends_when_the_provider_does_not_know_the_user(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    at.deletes_ada()
    at.becomes_due()
    responses = await asyncio.gather(*(at.refresh(token) for _ in range(10)))
    assert {refusal_of(response) for response in responses} == {(400, "invalid_grant")}
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await at.stored_login(session.sid) is None
    record = at.logins.harness.issuer.background.revocations.record
    assert len(record.sessions) == 1, "its access tokens have ended"


async def test_the_session_ends_when_the_provider_answers_with_another_user(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    at.upstream.users[ADA.subject] = replace(ADA, subject="u-eve", groups=("managers",))
    at.becomes_due()
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await at.stored_login(session.sid) is None


async def test_stored_groups_count_while_the_provider_does_not_answer(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.upstream.failure = DOWN
    at.becomes_due()
    for _ in range(5):
        assert scope_of(await at.refresh(token)) == READ
    assert len(at.upstream.asked) == 1, "it is not asked again at once"
    at.clock.advance(seconds=upstream_checks.RETRY_SECONDS)
    assert scope_of(await at.refresh(token)) == READ
    assert len(at.upstream.asked) == 2
    assert at.upstream.asked == ["login-0.0"] * 2


async def test_after_the_maximum_age_a_refresh_waits_for_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.3)
    provider = provider_of("company", check_max_age=3600)
    async with running_checked_sessions((provider,)) as at:
        _, session = await at.log_in()
        token = await at.refresh_token(session)
        at.upstream.failure = DOWN
        at.clock.advance(seconds=3600)
        for _ in range(2):
            response = await at.refresh(token)
            assert refusal_of(response) == (503, "temporarily_unavailable")
            assert response.headers["retry-after"] == str(upstream_checks.RETRY_SECONDS)
        assert '"reason":"provider_unavailable"' in at.logins.harness.audit_lines[-1]
        at.upstream.failure = None
        at.clock.advance(seconds=upstream_checks.RETRY_SECONDS)
        assert scope_of(await at.refresh(token)) == READ


async def test_too_many_groups_refuse_the_request_and_the_session_stays(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.upstream.failure = too_many_groups()
    at.becomes_due()
    for _ in range(3):
        response = await at.refresh(token)
        assert refusal_of(response) == (400, "invalid_grant")
        assert '"reason":"too_many_groups"' in at.logins.harness.audit_lines[-1]
    assert len(at.upstream.asked) == 1
    at.upstream.failure = None
    at.clock.advance(seconds=upstream_checks.RETRY_SECONDS)
    assert scope_of(await at.refresh(token)) == READ


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_refresh_token_that_was_rotated_before_a_failure_is_stored(at: CheckedSessions, is_full: bool) -> None:
    """Such as if userinfo fails after the token endpoint has answered. The store may fail too."""
    token = await at.logged_in()
    at.says("managers")
    for failure, answer in ((CheckFailed("Unreachable", "", ROTATED), 200), (too_many_groups(ROTATED), 400)):
        at.upstream.current["login-0"] = "login-0.1"
        at.upstream.failure = failure
        request = await at.question_on_its_way(token)
        at.store.is_full = is_full
        at.upstream.may_answer.set()
        # The refresh token of the application is written too.
        assert (await request).status_code == (503 if is_full and answer == 200 else answer)
        at.store.is_full = False
        await asyncio.sleep(0.2)
    at.upstream.failure = None
    at.becomes_due()
    assert scope_of(await at.refresh(token)) == BOTH
    assert at.upstream.asked == ["login-0.0", "login-0.1", "login-0.1"]


async def test_an_unexpected_failure_of_the_client_logs_nobody_out(
    at: CheckedSessions, caplog: pytest.LogCaptureFixture
) -> None:
    token = await at.logged_in()
    at.upstream.failure = ValueError("a bug")
    at.becomes_due()
    assert scope_of(await at.refresh(token)) == READ
    assert "a question to the provider company failed" in caplog.text


# A slow provider


async def test_the_pause_begins_after_the_failure(at: CheckedSessions) -> None:
    """A provider that fails slowly is not asked without a pause."""
    token = await at.logged_in()
    request = await at.question_on_its_way(token)
    at.upstream.failure = DOWN
    at.clock.advance(seconds=upstream_checks.RETRY_SECONDS)
    at.upstream.may_answer.set()
    assert scope_of(await request) == READ
    assert scope_of(await at.refresh(token)) == READ
    assert len(at.upstream.asked) == 1


async def test_a_refresh_does_not_wait_long_and_a_late_answer_is_stored(
    at: CheckedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.05)
    token = await at.logged_in()
    at.says("managers")
    at.becomes_due()
    at.upstream.may_answer.clear()
    assert scope_of(await at.refresh(token)) == READ
    at.upstream.may_answer.set()
    await asyncio.sleep(0.05)
    assert scope_of(await at.refresh(token)) == BOTH
    at.becomes_due()
    await at.refresh(token)
    assert at.upstream.asked == ["login-0.0", "login-0.1"], "the late answer had the only valid refresh token"


async def test_a_caller_that_leaves_does_not_stop_the_question(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.says("managers")
    request = await at.question_on_its_way(token)
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    at.upstream.may_answer.set()
    await asyncio.sleep(0.02)
    assert scope_of(await at.refresh(token)) == BOTH
    assert len(at.upstream.asked) == 1


async def test_one_provider_that_hangs_takes_no_more_than_its_share(
    at: CheckedSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_checks, "MAX_CHECKS_PER_PROVIDER", 2)
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.05)
    tokens = [await at.logged_in() for _ in range(4)]
    at.becomes_due()
    at.upstream.may_answer.clear()
    responses = await asyncio.gather(*map(at.refresh, tokens))
    assert {scope_of(response) for response in responses} == {READ}
    assert len(at.upstream.asked) == 2
    at.upstream.may_answer.set()
    await asyncio.sleep(0.05)
    for token in tokens:
        assert scope_of(await at.refresh(token)) == READ
    assert len(at.upstream.asked) == 4


async def test_an_answer_that_comes_during_the_shutdown_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.02)
    async with running_checked_sessions() as at:
        _, session = await at.log_in()
        token = await at.refresh_token(session)
        at.becomes_due()
        at.upstream.may_answer.clear()
        await at.refresh(token)
        asyncio.get_running_loop().call_later(0.1, at.upstream.may_answer.set)
    login = await at.stored_login(session.sid)
    assert login is not None
    assert login.tokens.refresh_token == "login-0.1"


# The store


async def test_a_store_that_takes_no_writes_keeps_the_refresh_token_from_being_sent(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    at.becomes_due()
    at.store.is_full = True
    await at.refresh(token)
    assert await at.pages.of_cookie(cookie) is not None, "nobody is logged out"
    assert not at.upstream.asked, "the one that the provider returns could not be stored"
    at.store.is_full = False
    assert scope_of(await at.refresh(token)) == READ
    assert len(at.upstream.asked) == 1


async def test_an_answer_waits_in_memory_until_the_store_takes_it(at: CheckedSessions) -> None:
    _, session = await at.log_in()
    token = await at.refresh_token(session)
    request = await at.question_on_its_way(token)
    at.store.is_full = True
    at.upstream.may_answer.set()
    await request
    at.store.is_full = False
    await asyncio.sleep(0.3)
    login = await at.stored_login(session.sid)
    assert login is not None
    assert login.tokens.refresh_token == "login-0.1"


async def test_a_logout_during_a_check_is_not_undone(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    request = await at.question_on_its_way(token)
    await at.logins.sessions_with_revocations().end(session.sid)
    at.upstream.may_answer.set()
    assert refusal_of(await request) == (400, "invalid_grant")
    await asyncio.sleep(0.02)
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await at.stored_login(session.sid) is None


async def test_an_end_that_comes_late_does_not_end_what_another_process_has_confirmed(at: CheckedSessions) -> None:
    """This process stood still for longer than its turn, and its refresh token is not the current one any more."""
    _, session = await at.log_in()
    token = await at.refresh_token(session)
    request = await at.question_on_its_way(token)
    found = await read_login(at.logins.sealed, session.sid)
    assert found is not None
    assert await at.logins.sealed.write(
        found.save(replace(found.login, checked_time=int(at.clock()), groups=("managers",), pause_until=0))
    )
    at.deletes_ada()
    at.upstream.may_answer.set()
    assert scope_of(await request) == BOTH
    assert await at.logins.sessions.of_sid(session.sid) is not None


async def test_a_session_whose_login_is_not_stored_any_more_is_over(at: CheckedSessions) -> None:
    """It cannot be asked about: such as after the other session of the login was ended by the provider."""
    _, session = await at.log_in()
    token = await at.refresh_token(session)
    await at.logins.sealed.write(Forget(login_handle(session.sid)))
    at.becomes_due()
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
