"""Logins at an OpenID provider, whose answers a test scripts, and a session store that a test makes fail."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from scopewright.core.failures import Unavailable
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.assembly import UserState
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.stored import Session
from scopewright.stores.sessions import Delete, Found, Put
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions
from tests.harness.scripted_logins import ScriptedLogins
from tests.harness.users import provider_of
from tests.unit.issuer.users.logins import SCOPES, Logins, running_logins, user

COMPANY = provider_of("company")
"""It is asked every 15 minutes."""
INTERVAL_SECONDS = COMPANY.record.check_interval
ADA = replace(user("ada", "hr-staff"), provider="company", provider_uid="uid-of-company")


class FailingStore(MemorySessions):
    """A store that is away, takes no writes, or fails in the next writes of a number."""

    is_away = False
    is_full = False
    reads = 0
    failures = 0
    """Of the next writes: how many fail."""

    async def get(self, *keys: bytes) -> Found:
        self.reads += 1
        if self.is_away:
            raise Unavailable("away")
        return await super().get(*keys)

    async def write(self, *changes: Put | Delete) -> bool:
        if self.is_away or self.is_full:
            raise Unavailable("away or full", refused=True)
        if self.failures:
            self.failures -= 1
            raise Unavailable("failed", refused=True)
        return await super().write(*changes)


@dataclass
class ProviderLogins:
    logins: Logins
    upstream: ScriptedLogins
    store: FailingStore

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
async def running_provider_logins(
    providers: Iterable[Provider] = (COMPANY,), store: FailingStore | None = None, **settings: Any
) -> AsyncIterator[ProviderLogins]:
    clock = settings.setdefault("clock", Clock())
    store = store or FailingStore(clock)
    upstream = ScriptedLogins()
    async with running_logins(store=store, upstreams=upstream, providers=providers, **settings) as logins:
        yield ProviderLogins(logins, upstream, store)


def scope_of(response: httpx.Response) -> str:
    """The scopes of APIs in a token response."""
    assert response.status_code == 200, response.text
    return " ".join(s for s in response.json()["scope"].split() if s.startswith("payroll."))


def refusal_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]
