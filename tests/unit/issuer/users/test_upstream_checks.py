"""Questions to OpenID providers about the users of sessions: when, how often, and what each answer does."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from scopewright.core.records.client import Login
from scopewright.issuer.upstream.authenticated_user import UpstreamTokens
from scopewright.issuer.upstream.login import CheckFailed, LoginRefused
from scopewright.issuer.users import upstream_checks
from scopewright.issuer.users.stored import UpstreamLogin
from scopewright.issuer.users.upstream_logins import read_login
from scopewright.issuer.users.user_record import login_handle
from scopewright.stores.sessions.sealed import Forget
from scopewright.upstream import UpstreamFailed
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import BANK, PAYROLL_SERVICE
from tests.harness.users import provider_of
from tests.unit.issuer.users import test_user_exchange
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    INTERVAL_SECONDS,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)
from tests.unit.issuer.users.logins import CALLBACK, web_client

READ = "payroll.read"
BOTH = "payroll.read payroll.write"
DOWN = UpstreamFailed("Unreachable", "no answer")
ROTATED = UpstreamTokens("login-0.1")


def refused(tokens: UpstreamTokens | None = None) -> LoginRefused:
    return LoginRefused("too_many_groups", "300 groups", tokens)


@pytest.fixture
async def at() -> AsyncIterator[CheckedSessions]:
    async with running_checked_sessions() as logins:
        yield logins


async def stored_login(at: CheckedSessions, sid: str) -> UpstreamLogin | None:
    found = await read_login(at.logins.sealed, sid)
    return found.login if found else None


async def a_question_on_its_way(at: CheckedSessions, token: str) -> "asyncio.Future[httpx.Response]":
    """A refresh that asks the provider, which does not answer before `may_answer` is set."""
    at.becomes_due()
    at.upstream.may_answer.clear()
    request = asyncio.ensure_future(at.refresh(token))
    await asyncio.sleep(0.02)
    return request


# When


async def test_nobody_asks_before_the_interval_is_over(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.says("managers")
    at.clock.advance(seconds=INTERVAL_SECONDS - 1)
    assert scope_of(await at.refresh(token)) == READ
    assert not at.upstream.asked


async def test_a_refresh_asks_and_the_answer_decides_its_token(at: CheckedSessions) -> None:
    _, session = await at.log_in()
    token = await at.refresh_token(session)
    at.says("managers", name="Ada King")
    at.becomes_due()
    refreshed = await at.refresh(token)
    assert scope_of(refreshed) == BOTH
    again = await at.refresh(token)
    assert scope_of(again) == BOTH
    assert len(at.upstream.asked) == 1
    stored = await at.logins.sessions.of_sid(session.sid)
    assert stored is not None
    assert (stored.groups, stored.claims["name"]) == (("managers",), "Ada King")
    assert stored.checked_time == int(at.clock())


async def test_the_redemption_of_a_code_asks(at: CheckedSessions) -> None:
    _, session = await at.log_in()
    at.says("managers")
    at.becomes_due()
    response = await at.logins.redeem(await at.logins.code(session))
    assert scope_of(response) == BOTH


async def test_rotated_refresh_tokens_are_used_in_their_order(at: CheckedSessions) -> None:
    token = await at.logged_in()
    for _ in range(4):
        at.becomes_due()
        assert scope_of(await at.refresh(token)) == READ
    assert at.upstream.asked == ["login-0.0", "login-0.1", "login-0.2", "login-0.3"]


async def test_a_clock_that_is_set_back_does_not_put_off_the_question(at: CheckedSessions) -> None:
    at.clock.advance(hours=3)
    token = await at.logged_in()
    at.says("managers")
    at.clock.advance(hours=-1)
    assert scope_of(await at.refresh(token)) == BOTH
    at.deletes_ada()
    at.becomes_due()
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")


async def test_a_clock_that_is_set_back_ends_the_pause_after_a_failure(at: CheckedSessions) -> None:
    at.clock.advance(hours=3)
    token = await at.logged_in()
    at.upstream.failure = DOWN
    at.becomes_due()
    assert scope_of(await at.refresh(token)) == READ
    at.upstream.failure = None
    at.says("managers")
    at.clock.advance(hours=-1)
    assert scope_of(await at.refresh(token)) == BOTH


async def test_stored_groups_of_the_future_do_not_count() -> None:
    """Of a session that was checked before the clock was set back: for how long they are known nobody can say."""
    async with running_checked_sessions((provider_of("company", check_interval=60, check_max_age=120),)) as at:
        at.clock.advance(hours=3)
        token = await at.logged_in()
        at.upstream.failure = DOWN
        at.clock.advance(hours=-1)
        assert refusal_of(await at.refresh(token)) == (503, "temporarily_unavailable")


# Many at once


async def test_fifty_refreshes_at_once_ask_once(at: CheckedSessions) -> None:
    token = await at.logged_in()
    at.says("managers")
    at.becomes_due()
    at.upstream.may_answer.clear()
    requests = [asyncio.ensure_future(at.refresh(token)) for _ in range(50)]
    await asyncio.sleep(0.05)
    at.upstream.may_answer.set()
    responses = await asyncio.gather(*requests)
    assert {scope_of(response) for response in responses} == {BOTH}
    assert at.upstream.asked == ["login-0.0"]


async def test_two_issuers_on_one_store_ask_once_and_nobody_is_logged_out(at: CheckedSessions) -> None:
    other = IssuerHarness(store=at.logins.harness.store, clock=at.clock, can_write=True)
    other.users = at.logins.harness.users
    token = await at.logged_in()
    async with other.running():
        for _ in range(3):
            at.becomes_due()
            asked = len(at.upstream.asked)
            here, there = at.logins, replace(at.logins, harness=other)
            responses = await asyncio.gather(
                *(each.refresh(token) for _ in range(25) for each in (here, there)),
            )
            assert {scope_of(response) for response in responses} == {READ}
            assert len(at.upstream.asked) == asked + 1
    assert not at.upstream.replayed


async def test_failures_of_the_store_during_a_check_log_nobody_out(at: CheckedSessions) -> None:
    """Each refresh gets a token or 503."""
    token = await at.logged_in()
    for failures in range(1, 6):
        at.becomes_due()
        at.clock.advance(seconds=upstream_checks.LEASE_SECONDS)
        at.upstream.may_answer.clear()
        requests = [asyncio.ensure_future(at.refresh(token)) for _ in range(10)]
        await asyncio.sleep(0.02)
        at.store.failures = failures
        at.upstream.may_answer.set()
        assert {response.status_code for response in await asyncio.gather(*requests)} <= {200, 503}
        at.store.failures = 0
        await asyncio.sleep(0.7)
        assert scope_of(await at.refresh(token)) == READ
    assert not at.upstream.replayed


# Answers


async def test_the_session_ends_when_the_provider_does_not_know_the_user(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    at.deletes_ada()
    at.becomes_due()
    responses = await asyncio.gather(*(at.refresh(token) for _ in range(10)))
    assert {refusal_of(response) for response in responses} == {(400, "invalid_grant")}
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await stored_login(at, session.sid) is None
    record = at.logins.harness.issuer.background.revocations.record
    assert len(record.sessions) == 1, "its access tokens have ended"


async def test_the_session_ends_when_the_provider_answers_with_another_user(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    at.upstream.users[ADA.subject] = replace(ADA, subject="u-eve", groups=("managers",))
    at.becomes_due()
    assert refusal_of(await at.refresh(token)) == (400, "invalid_grant")
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await stored_login(at, session.sid) is None


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
    at.upstream.failure = refused()
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
    for failure, answer in ((CheckFailed("Unreachable", "", ROTATED), 200), (refused(ROTATED), 400)):
        at.upstream.current["login-0"] = "login-0.1"
        at.upstream.failure = failure
        request = await a_question_on_its_way(at, token)
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
    request = await a_question_on_its_way(at, token)
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
    request = await a_question_on_its_way(at, token)
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
    login = await stored_login(at, session.sid)
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
    request = await a_question_on_its_way(at, token)
    at.store.is_full = True
    at.upstream.may_answer.set()
    await request
    at.store.is_full = False
    await asyncio.sleep(0.3)
    login = await stored_login(at, session.sid)
    assert login is not None
    assert login.tokens.refresh_token == "login-0.1"


async def test_a_logout_during_a_check_is_not_undone(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    token = await at.refresh_token(session)
    request = await a_question_on_its_way(at, token)
    await at.logins.sessions_with_revocations().end(session.sid)
    at.upstream.may_answer.set()
    assert refusal_of(await request) == (400, "invalid_grant")
    await asyncio.sleep(0.02)
    assert await at.logins.sessions.of_cookie(cookie) is None
    assert await stored_login(at, session.sid) is None


async def test_an_end_that_comes_late_does_not_end_what_another_process_has_confirmed(at: CheckedSessions) -> None:
    """This process stood still for longer than its turn, and its refresh token is not the current one any more."""
    _, session = await at.log_in()
    token = await at.refresh_token(session)
    request = await a_question_on_its_way(at, token)
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


# Refresh tokens with offline_access


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
    assert await stored_login(at, session.sid) is None


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
    assert await stored_login(at, session.sid) is None
    assert await at.logins.sessions.of_sid(other.split(".")[0]) is not None


async def test_what_is_known_of_a_login_is_deleted_with_its_last_session(at: CheckedSessions) -> None:
    _, session = await at.log_in()
    offline = await at.refresh_token(session, offline=True)
    sessions = at.logins.sessions_with_revocations()
    await sessions.end(session.sid)
    assert await stored_login(at, session.sid) is not None
    at.becomes_due()
    assert scope_of(await at.refresh(offline)) == READ
    await sessions.end_user(ADA.subject)
    assert await stored_login(at, session.sid) is None
    _, other = await at.log_in()
    await sessions.end(other.sid)
    assert await stored_login(at, other.sid) is None


# Other requests


async def test_the_cookie_of_a_browser_asks_too(at: CheckedSessions) -> None:
    cookie, session = await at.log_in()
    pages = at.pages
    at.says("managers")
    at.becomes_due()
    found = await pages.of_cookie(cookie)
    assert found is not None
    assert found.groups == ("managers",)
    at.deletes_ada()
    at.becomes_due()
    assert await pages.of_cookie(cookie) is None
    assert await at.logins.sessions.of_sid(session.sid) is None


@pytest.mark.parametrize("failure", [DOWN, refused()])
async def test_a_browser_logs_in_again_if_the_provider_has_not_confirmed_the_user(
    monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    monkeypatch.setattr(upstream_checks, "CHECK_SECONDS", 0.2)
    async with running_checked_sessions((provider_of("company", check_max_age=3600),)) as at:
        cookie, session = await at.log_in()
        pages = at.pages
        at.upstream.failure = failure
        at.clock.advance(seconds=3599)
        assert (await pages.of_cookie(cookie) is None) == isinstance(failure, LoginRefused)
        at.clock.advance(seconds=1)
        assert await pages.of_cookie(cookie) is None
        assert await pages.of_cookie(cookie, idle_too=True) is not None, "the user can log out"
        assert await at.logins.sessions.of_sid(session.sid) is not None


async def test_userinfo_uses_what_is_stored_by_one_read_and_asks_nobody() -> None:
    async with running_checked_sessions((provider_of("company", check_interval=60, check_max_age=120),)) as at:
        code = await at.logins.code((await at.log_in())[1], access=())
        token = (await at.logins.redeem(code)).json()["access_token"]
        at.says("managers")
        for seconds, status in ((119, 200), (1, 503)):
            at.clock.advance(seconds=seconds)
            reads = at.store.reads
            answer = await at.logins.harness.http.get("/userinfo", headers={"authorization": f"Bearer {token}"})
            assert (answer.status_code, at.store.reads - reads) == (status, 1)
            assert answer.json().get("groups") == (["hr-staff"] if status == 200 else None)
        assert answer.headers["retry-after"]
        assert not at.upstream.asked


async def test_an_exchange_uses_what_is_stored_by_one_read_and_asks_nobody() -> None:
    async with running_checked_sessions((provider_of("company", check_interval=60, check_max_age=120),)) as at:
        await test_user_exchange.install(at.logins)
        _, session = await at.log_in()
        token = (await at.logins.redeem(await at.logins.code(session))).json()["access_token"]
        at.deletes_ada()
        for seconds, status in ((119, 200), (1, 503)):
            at.clock.advance(seconds=seconds)
            reads = at.store.reads
            answer = await at.logins.harness.exchange(token, PAYROLL_SERVICE, BANK)
            assert (answer.status_code, at.store.reads - reads) == (status, 1), answer.text
        assert not at.upstream.asked
