"""Random refreshes, changes at a provider, failures and clocks, compared with a model of what checks promise.

A token has the groups that the provider last said, none older than `maxAge`; the session of a user whom the provider
does not know ends at its next check; no refresh token of the provider is lost or sent twice.
"""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from unittest.mock import patch

import httpx
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scopewright.core.records.client import Login
from scopewright.issuer.users import upstream_checks
from scopewright.issuer.users.upstream_checks import LEASE_SECONDS, RETRY_SECONDS
from scopewright.issuer.users.upstream_logins import read_login
from scopewright.upstream import UpstreamFailed
from tests.harness.users import provider_of
from tests.unit.issuer.users.checked_sessions import (
    ADA,
    CheckedSessions,
    refusal_of,
    running_checked_sessions,
    scope_of,
)
from tests.unit.issuer.users.login_model import SESSION_SECONDS
from tests.unit.issuer.users.logins import CALLBACK, web_client

EVERY, MAX_AGE = 900, 4 * 3600
LONG = 90 * 86400
SCOPES_OF = {"hr-staff": "payroll.read", "managers": "payroll.read payroll.write"}


@dataclass(eq=False)
class ModelLogin:
    """What is known of a login at the provider."""

    group: str
    checked_time: float
    pause_until: float = 0
    ended: bool = False


@dataclass(eq=False)
class ModelSession:
    """A session with one refresh token, and its copy of what is known."""

    sid: str
    token: str
    login: ModelLogin
    group: str
    checked_time: float
    end_time: float
    ended: bool = False

    def is_alive(self, now: float) -> bool:
        return not self.ended and not self.login.ended and now < self.end_time


@dataclass
class ModelProvider:
    group: str = "hr-staff"
    is_up: bool = True
    has_user: bool = True
    logins: list[ModelLogin] = field(default_factory=list)

    def asks(self, session: ModelSession, now: float) -> bool:
        """Whether a refresh of a session that is alive asks the provider."""
        login = session.login
        is_known = any(abs(now - time) < EVERY for time in (session.checked_time, login.checked_time))
        return not is_known and not 0 < login.pause_until - now <= 2 * LEASE_SECONDS

    def refreshed(self, session: ModelSession, now: float) -> str:
        """What a refresh gives: the group of the token, `ended` or `away`."""
        if not session.is_alive(now):
            return "ended"
        login, is_due = session.login, abs(now - session.checked_time) >= EVERY
        if self.asks(session, now):
            if not self.is_up:
                login.pause_until = int(now) + RETRY_SECONDS
            elif not self.has_user:
                login.ended = True
                return "ended"
            else:
                login.group, login.checked_time, login.pause_until = self.group, int(now), 0
        if is_due:
            session.group, session.checked_time = login.group, login.checked_time
        return session.group if abs(now - session.checked_time) < MAX_AGE else "away"


class CheckMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.stack.enter_context(patch.object(upstream_checks, "CHECK_SECONDS", 0.2))
        self.provider = ModelProvider()
        self.sessions: list[ModelSession] = []
        self.at = self.runner.run(self.start())

    async def start(self) -> CheckedSessions:
        company = provider_of("company", check_interval=EVERY, check_max_age=MAX_AGE)
        at = await self.stack.enter_async_context(running_checked_sessions((company,)))
        login = Login((CALLBACK,), refresh_idle_timeout=LONG, refresh_max_lifetime=LONG)
        await at.logins.put(web_client(login=login))
        at.clock.advance(days=1)
        return at

    def teardown(self) -> None:
        self.at.upstream.may_answer.set()
        self.runner.run(self.stack.aclose())
        self.runner.close()

    @property
    def now(self) -> float:
        return self.at.clock()

    # Rules

    @initialize()
    def begin(self) -> None:
        self.log_in(offline=True)

    @precondition(lambda self: self.provider.has_user and self.provider.is_up and len(self.sessions) < 6)
    @rule(offline=st.booleans())
    def log_in(self, offline: bool) -> None:
        """A session of a browser, and one of a refresh token that shares its login."""

        async def tokens() -> tuple[str, list[str]]:
            _, session = await self.at.log_in(replace(ADA, groups=(self.provider.group,)))
            return session.sid, [await self.at.refresh_token(session, offline=each) for each in {False, offline}]

        login = ModelLogin(self.provider.group, int(self.now))
        browser, given = self.runner.run(tokens())
        for token in given:
            sid = token.split(".")[0]
            lifetime = SESSION_SECONDS if sid == browser else LONG
            self.sessions.append(
                ModelSession(sid, token, login, login.group, login.checked_time, int(self.now) + lifetime)
            )

    @rule(data=st.data(), times=st.sampled_from([1, 1, 20]))
    def refresh(self, data: st.DataObject, times: int) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        asked, asks = len(self.at.upstream.asked), session.is_alive(self.now) and self.provider.asks(session, self.now)

        async def at_once() -> list[httpx.Response]:
            return await asyncio.gather(*(self.at.refresh(session.token) for _ in range(times)))

        responses = self.runner.run(at_once())
        assert {outcome_of(response) for response in responses} == {self.provider.refreshed(session, self.now)}
        assert len(self.at.upstream.asked) == asked + asks
        again = self.runner.run(self.at.refresh(session.token))
        assert outcome_of(again) == self.provider.refreshed(session, self.now)

    @precondition(lambda self: self.provider.is_up and self.provider.has_user and self.shared_logins())
    @rule(data=st.data(), seconds=st.sampled_from([EVERY, 3600, MAX_AGE - 1, MAX_AGE]))
    def ask_by_one_session_and_refresh_the_other_one_without_an_answer(self, data: st.DataObject, seconds: int) -> None:
        """It has what the login was last known to have, and not its own copy."""
        first, second = data.draw(st.permutations(data.draw(st.sampled_from(self.shared_logins()))))
        self.let_time_pass(EVERY)
        self.refresh_once(first)
        self.change_the_group(next(group for group in SCOPES_OF if group != self.provider.group))
        self.let_time_pass(EVERY)
        self.refresh_once(first)
        self.stop_or_start_the_provider(is_up=False)
        self.let_time_pass(seconds)
        self.refresh_once(second)

    @precondition(lambda self: self.provider.is_up and self.provider.has_user and self.asking())
    @rule(data=st.data(), logs_out=st.booleans())
    def refresh_while_the_store_fails_after_the_question(self, data: st.DataObject, logs_out: bool) -> None:
        """The answer is stored later, unless the user logs out meanwhile."""
        session = data.draw(st.sampled_from(self.asking()))

        async def interrupted() -> httpx.Response:
            self.at.upstream.may_answer.clear()
            request = asyncio.ensure_future(self.at.refresh(session.token))
            await asyncio.sleep(0.02)
            if logs_out:
                await self.at.logins.sessions_with_revocations().end(session.sid)
            self.at.store.is_full = True
            self.at.upstream.may_answer.set()
            response = await request
            self.at.store.is_full = False
            await asyncio.sleep(0.15)
            return response

        response = self.runner.run(interrupted())
        assert response.status_code in ((200, 503) if not logs_out else (200, 400, 503))
        self.provider.refreshed(session, self.now)
        session.ended = logs_out

    @rule(data=st.data())
    def log_out(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.sessions))
        self.runner.run(self.at.logins.sessions_with_revocations().end(session.sid, ADA.subject))
        session.ended = True

    @precondition(lambda self: self.provider.has_user)
    @rule(group=st.sampled_from(sorted(SCOPES_OF)))
    def change_the_group(self, group: str) -> None:
        self.provider.group = group
        self.at.says(group)

    @rule(is_up=st.booleans())
    def stop_or_start_the_provider(self, is_up: bool) -> None:
        self.provider.is_up = is_up
        self.at.upstream.failure = None if is_up else UpstreamFailed("Unreachable", "no answer")

    @precondition(lambda self: self.provider.has_user and len(self.sessions) > 2)
    @rule()
    def delete_the_user(self) -> None:
        self.provider.has_user = False
        self.at.deletes_ada()

    @rule(seconds=st.sampled_from([1, RETRY_SECONDS, LEASE_SECONDS, EVERY - 1, EVERY, EVERY + 1, 3600, MAX_AGE]))
    def let_time_pass(self, seconds: int) -> None:
        self.at.clock.advance(seconds=seconds)

    @precondition(lambda self: self.now > min(session.end_time for session in self.sessions) - SESSION_SECONDS + 7200)
    @rule()
    def set_the_clock_back(self) -> None:
        self.at.clock.advance(hours=-1)

    # What is true after each step

    @invariant()
    def the_current_refresh_token_of_the_provider_is_stored(self) -> None:
        if not self.provider.has_user:
            return
        assert not self.at.upstream.replayed
        for session in self.sessions:
            if session.is_alive(self.now):
                stored = self.runner.run(self.stored_token(session.sid))
                assert stored in self.at.upstream.current.values()

    # Helpers

    def refresh_once(self, session: ModelSession) -> None:
        outcome = outcome_of(self.runner.run(self.at.refresh(session.token)))
        assert outcome == self.provider.refreshed(session, self.now)

    def shared_logins(self) -> list[list[ModelSession]]:
        """The two sessions of each login that has two, both alive."""
        by_login = [
            [s for s in self.sessions if s.login is login] for login in dict.fromkeys(s.login for s in self.sessions)
        ]
        return [both for both in by_login if len(both) == 2 and all(s.is_alive(self.now) for s in both)]

    def asking(self) -> list[ModelSession]:
        return [s for s in self.sessions if s.is_alive(self.now) and self.provider.asks(s, self.now)]

    async def stored_token(self, sid: str) -> str:
        session = await self.at.logins.sessions.of_sid(sid)
        assert session is not None
        login = await read_login(self.at.logins.sealed, session.login)
        assert login is not None
        return login.login.tokens.refresh_token


def outcome_of(response: httpx.Response) -> str:
    if response.status_code == 200:
        return next(group for group, scopes in SCOPES_OF.items() if scopes == scope_of(response))
    return {(400, "invalid_grant"): "ended", (503, "temporarily_unavailable"): "away"}[refusal_of(response)]


TestChecks = CheckMachine.TestCase
TestChecks.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes longer than reading the steps
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
