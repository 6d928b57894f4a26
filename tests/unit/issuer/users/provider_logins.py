"""`UsersHarness` with identity providers whose answers a test chooses, and a browser that goes there and returns."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.login import WrongPassword
from tests.harness.issuer import settle
from tests.harness.scripted_logins import ScriptedLogins, user_at
from tests.harness.users import UsersHarness, provider_of, web_record

COMPANY: Final = provider_of("company")
PARTNER: Final = provider_of("partner")
STAFF: Final = provider_of("staff", oidc=None)
"""A static provider."""


@dataclass
class FakePasswords:
    """Users whose password is that of `passwords`."""

    passwords: dict[str, str] = field(default_factory=lambda: {"ada": "correct horse"})
    failure: Exception | None = None
    tried: list[tuple[str, str, str]] = field(default_factory=list)
    """User name, password and address."""

    async def verify(self, provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        self.tried.append((username, password, address))
        if self.failure:
            raise self.failure
        if self.passwords.get(username) != password:
            raise WrongPassword
        return user_at(provider, username)

    def current(self, provider: Provider, subject: str) -> AuthenticatedUser | None:
        return next((user for name in self.passwords if (user := user_at(provider, name)).subject == subject), None)


@dataclass
class ProviderLogins:
    users: UsersHarness
    upstreams: ScriptedLogins
    passwords: FakePasswords

    @property
    def browser(self) -> httpx.AsyncClient:
        return self.users.browser

    def audited(self, event: str) -> dict[str, Any]:
        """The last audit line of an event."""
        lines = map(json.loads, reversed(self.users.issuer.audit_lines))
        return next(line for line in lines if line["event"] == event)

    async def begin(self, browser: httpx.AsyncClient | None = None, **changes: Any) -> httpx.Response:
        """An authorization request, followed until a page or a redirect to a provider or the client."""
        return await self.users.follow(await self.users.authorize(browser, **changes), browser)

    async def get(self, path: str, browser: httpx.AsyncClient | None = None) -> httpx.Response:
        """A path of the issuer, followed as `begin`."""
        return await self.users.follow(await (browser or self.browser).get(path), browser)

    async def back(
        self,
        away: httpx.Response,
        provider: str = "company",
        browser: httpx.AsyncClient | None = None,
        **changes: Any,
    ) -> httpx.Response:
        """Return from the provider with a code, and follow redirects within the issuer."""
        answer: dict[str, str | None] = {"code": "the-code", "state": state_of(away), **changes}
        query = urlencode({name: value for name, value in answer.items() if value is not None})
        return await self.get(f"/callback/{provider}?{query}", browser)

    async def log_in(self, browser: httpx.AsyncClient | None = None, **changes: Any) -> httpx.Response:
        """At the only provider; the answer is that after the callback."""
        return await self.back(await self.begin(browser, **changes), browser=browser)

    async def put(self, *providers: Provider, **login: Any) -> None:
        """Write providers, and replace the login of `hr-web`."""
        for provider in providers:
            self.users.issuer.put_provider(provider)
        self.users.issuer.put(web_record(**login))
        await settle()


def state_of(away: httpx.Response) -> str:
    """The `state` of a redirect to a provider."""
    assert away.status_code == 303, away.text
    location = urlsplit(away.headers["location"])
    assert location.hostname is not None
    assert location.path == "/authorize"
    [state] = parse_qs(location.query)["state"]
    return state


@asynccontextmanager
async def running_providers(folder: Path, *providers: Provider, **login: Any) -> AsyncIterator[ProviderLogins]:
    """An issuer with these providers. `login` are fields of Login of the client `hr-web`."""
    harness = UsersHarness(folder)
    upstreams, passwords = ScriptedLogins(), FakePasswords()
    assert harness.issuer.users is not None
    harness.issuer.users = replace(harness.issuer.users, upstreams=upstreams, passwords=passwords)
    for provider in providers:
        harness.issuer.put_provider(provider)
    harness.issuer.put(web_record(**login))
    async with harness.running() as users:
        yield ProviderLogins(users, upstreams, passwords)
