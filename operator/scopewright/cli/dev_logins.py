"""How users log in at `scopewright dev`: which login is offered, and what is printed about it."""

import asyncio
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from scopewright.api import IdentityProvider, OAuthClient
from scopewright.cli.user_store import SESSIONS_FILE
from scopewright.controller.cache import Cache
from scopewright.core.client.login import LOGIN_ALLOWED, PROVIDER_NOT_FOUND
from scopewright.core.providers.plan import redirect_uri
from scopewright.core.providers.user_file import USERS_FILE
from scopewright.issuer.users.developer_login import USERS_EXAMPLE, DeveloperLogin
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.manifests.load import DirectoryReader
from scopewright.stores.sessions.sqlite import SqliteSessions, check_file

_CHECK_SECONDS: Final = 1.0


class DevLogins:
    """The developer login is offered while DIR declares no IdentityProvider: also while a declared one is not ready.

    `users_file` has the users of the developer login; None: there is none.
    """

    def __init__(self, directory: Path, users_file: Path | None, cache: Cache, issuer: str, console: Console) -> None:
        self._directory = directory
        self._cache = cache
        self._issuer = issuer
        self._console = console
        self._declared_at_start = users_file is not None and _declares_provider(directory)
        self._has_settled = False
        self._printed: tuple[str, ...] = ()
        self._failed: set[str] = set()
        self.developer = (
            DeveloperLogin(users_file, self._report_problem, lambda: not self._has_provider) if users_file else None
        )

    def settings(self, state: Path) -> UserEndpointSettings:
        """The settings of the issuer. The session store is there without users too: a provider may be added later."""
        check_file(sessions := state / SESSIONS_FILE)
        return UserEndpointSettings(SqliteSessions(sessions), self.developer, allow_loopback=True)

    def settled(self) -> None:
        """The cache has what DIR declares."""
        self._has_settled = True

    async def run(self) -> None:
        """Print each new line about logins, and a mistake in the users' file when it is made, without end."""
        while True:
            if self.developer is not None and self.developer.is_offered():
                self.developer.users()
            if self._has_settled:
                self.report()
            await asyncio.sleep(_CHECK_SECONDS)

    def report(self) -> None:
        """Print what has changed since the last call."""
        lines = self._lines()
        for line in lines:
            if line not in self._printed:
                self._console.print(Text(line), soft_wrap=True)
        self._printed = lines

    @property
    def _has_provider(self) -> bool:
        return bool(self._cache.declared[IdentityProvider.KIND]) if self._has_settled else self._declared_at_start

    def _lines(self) -> tuple[str, ...]:
        providers = sorted(self._cache.all(IdentityProvider), key=lambda provider: provider.name)
        lines = [line for provider in providers for line in self._lines_of(provider)]
        if providers:
            lines += self._lines_of_missing_providers()
        if self.developer is None:
            return (*lines, *self._lines_without_login(has_provider=bool(providers)))
        if providers:
            lines.append(f"{USERS_FILE} is ignored while an IdentityProvider is declared")
        elif not self.developer.users().problem:
            lines.append(f"the users of {USERS_FILE} log in without a password: start at an application")
        return tuple(lines)

    def _lines_of(self, provider: IdentityProvider) -> list[str]:
        name, oidc = provider.name, provider.spec.oidc
        conditions = provider.status.conditions if provider.status else ()
        ready = next((c for c in conditions if c.type == "Ready"), None)
        lines = [
            f"the users of IdentityProvider {name} log in at {oidc.issuer_url}; register the redirect URI "
            f"{redirect_uri(self._issuer, name)} there"
            if oidc
            else f"the users of IdentityProvider {name} log in with a password"
        ]
        if ready is not None and ready.status == "False":
            self._failed.add(name)
            lines.append(f"IdentityProvider {name} is not ready: {ready.message}")
        elif ready is not None and ready.status == "True" and name in self._failed:
            lines.append(f"IdentityProvider {name} is ready")
        return lines

    def _lines_of_missing_providers(self) -> list[str]:
        """Logins at providers that do not exist. No event reports them: in a cluster the provider may follow."""
        clients = sorted(self._cache.all(OAuthClient), key=lambda client: client.client_id)
        conditions = ((client.client_id, client.condition(LOGIN_ALLOWED)) for client in clients)
        return [
            f"{client_id}: {allowed.message}"
            for client_id, allowed in conditions
            if allowed is not None and allowed.reason == PROVIDER_NOT_FOUND
        ]

    def _lines_without_login(self, *, has_provider: bool) -> tuple[str, ...]:
        waiting = sorted(c.client_id for c in self._cache.all(OAuthClient) if c.spec.login)
        if has_provider or not waiting:
            return ()
        hint = f"declare an IdentityProvider in DIR, or list users in DIR/{USERS_FILE} and start dev again"
        return (f"no user can log in through {', '.join(waiting)}: {hint}; an example: {USERS_EXAMPLE}",)

    def _report_problem(self, problem: str) -> None:
        self._console.print(Text(f"{self._directory}/{problem}", "red"), soft_wrap=True)


def _declares_provider(directory: Path) -> bool:
    return any(ref.kind == IdentityProvider.KIND for ref in DirectoryReader(directory).read().objects)
