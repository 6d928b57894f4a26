"""`ScriptedLogins`: OpenID providers without a network, whose answers the test sets."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import UpstreamRequest, UserGone


@dataclass
class ScriptedLogins:
    """Implements `UpstreamLogins`. It rotates refresh tokens, and ends a login whose old one is sent again."""

    users: dict[str, AuthenticatedUser] = field(default_factory=dict)
    """By our `sub`: what the provider says now. A user who is not here has been deleted there."""
    failure: Exception | None = None
    """Raised by every request while it is set."""
    asked: list[str] = field(default_factory=list)
    """The refresh tokens that `confirm` got."""
    replayed: list[str] = field(default_factory=list)
    """Those that were not current any more."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: the provider does not answer yet."""
    current: dict[str, str] = field(default_factory=dict)
    """By the login that a refresh token began with: the current one."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    def log_in(self, user: AuthenticatedUser) -> AuthenticatedUser:
        """The user as `redeem` returns them, with a refresh token of a new login."""
        login = f"login-{len(self.current)}"
        self.current[login] = f"{login}.0"
        self.users[user.subject] = user
        return replace(user, upstream=UpstreamTokens(self.current[login]))

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        self._fail()
        return f"{provider.record.subject_domain}/authorize"

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        """`code` is the `sub`."""
        self._fail()
        return self.log_in(self.users[parameters["code"]])

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        self.asked.append(tokens.refresh_token)
        login, _, generation = tokens.refresh_token.partition(".")
        if self.failure is None and self.current[login] != tokens.refresh_token:
            self.replayed.append(tokens.refresh_token)
            raise UserGone
        if self.failure is None:
            self.current[login] = f"{login}.{int(generation) + 1}"
        rotated = UpstreamTokens(self.current[login])
        await self.may_answer.wait()
        self._fail()
        if subject not in self.users:
            raise UserGone
        return replace(self.users[subject], upstream=rotated)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
