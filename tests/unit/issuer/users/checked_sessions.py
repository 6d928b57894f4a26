"""Logins at an OpenID provider, whose answers a test scripts, and a session store that a test makes fail."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.issuer.users.assembly import UserState
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Session, UpstreamLogin
from scopewright.issuer.users.upstream_logins import read_login
from scopewright.upstream import UpstreamFailed
from tests.harness.clock import Clock
from tests.harness.failing_sessions import FailingSessions
from tests.harness.scripted_logins import ScriptedLogins
from tests.harness.users import provider_of
from tests.unit.issuer.users.logins import SCOPES, Logins, running_logins, user

READ = "payroll.read"
BOTH = "payroll.read payroll.write"
"""What members of `hr-staff`, and of `managers`, have."""
DOWN = UpstreamFailed("Unreachable", "no answer")
ROTATED = UpstreamTokens("login-0.1")
COMPANY = provider_of("company")
"""It is asked every 15 minutes."""
INTERVAL_SECONDS = COMPANY.record.check_interval
ADA = replace(user("ada", "hr-staff"), provider="company", provider_uid="uid-of-company")


@dataclass
class CheckedSessions:
    logins: Logins
    upstream: ScriptedLogins
    store: FailingSessions

    @property
    def clock(self) -> Clock:
        return self.logins.harness.clock

    @property
    def pages(self) -> UserSessions:
        """Sessions as the pages of the issuer use them, with its checks."""
        state = self.logins.harness.issuer.background.users
        assert isinstance(state, UserState)
        return state.sessions

    async def log_in(self, who: AuthenticatedUser = ADA) -> tuple[str, Session]:
        """The cookie and the session after a login at the provider."""
        return await self.logins.sessions.begin(self.upstream.log_in(who))

    async def refresh_token(self, session: Session, *, offline: bool = False) -> str:
        scopes = (*SCOPES, "offline_access") if offline else SCOPES
        response = await self.logins.redeem(await self.logins.code(session, scopes))
        assert response.status_code == 200, response.text
        return str(response.json()["refresh_token"])

    async def logged_in(self, *, offline: bool = False) -> str:
        """A refresh token of a new login."""
        return await self.refresh_token((await self.log_in())[1], offline=offline)

    async def stored_login(self, sid: str) -> UpstreamLogin | None:
        found = await read_login(self.logins.sealed, sid)
        return found.login if found else None

    async def question_on_its_way(self, token: str) -> "asyncio.Future[httpx.Response]":
        """A refresh that asks the provider, which does not answer before `may_answer` is set."""
        self.becomes_due()
        self.upstream.may_answer.clear()
        request = asyncio.ensure_future(self.refresh(token))
        await asyncio.sleep(0.02)
        return request

    async def refresh(self, token: str) -> httpx.Response:
        return await self.logins.refresh(token)

    def becomes_due(self) -> None:
        self.clock.advance(seconds=INTERVAL_SECONDS)

    def says(self, *groups: str, **claims: Any) -> None:
        """The groups and claims that Ada has at the provider from now on."""
        self.upstream.users[ADA.subject] = replace(ADA, groups=groups, claims={**ADA.claims, **claims})

    def deletes_ada(self) -> None:
        del self.upstream.users[ADA.subject]


@asynccontextmanager
async def running_checked_sessions(
    providers: Iterable[Provider] = (COMPANY,), store: FailingSessions | None = None, **settings: Any
) -> AsyncIterator[CheckedSessions]:
    clock = settings.setdefault("clock", Clock())
    store = store or FailingSessions(clock)
    upstream = ScriptedLogins()
    async with running_logins(store=store, upstreams=upstream, providers=providers, **settings) as logins:
        yield CheckedSessions(logins, upstream, store)


def too_many_groups(tokens: UpstreamTokens | None = None) -> LoginRefused:
    return LoginRefused("too_many_groups", "300 groups", tokens)


def scope_of(response: httpx.Response) -> str:
    """The scopes of APIs in a token response."""
    assert response.status_code == 200, response.text
    return " ".join(s for s in response.json()["scope"].split() if s.startswith("payroll."))


def refusal_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]
