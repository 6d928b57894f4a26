"""Questions to OpenID providers about the users of sessions: when, how often, and for which requests."""

import asyncio
from dataclasses import replace

import pytest

from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users import upstream_checks
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import BANK, PAYROLL_SERVICE
from tests.harness.users import provider_of
from tests.unit.issuer.users import test_user_exchange
from tests.unit.issuer.users.checked_sessions import (
    BOTH,
    DOWN,
    INTERVAL_SECONDS,
    READ,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
    too_many_groups,
)

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


@pytest.mark.parametrize("failure", [DOWN, too_many_groups()])
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
