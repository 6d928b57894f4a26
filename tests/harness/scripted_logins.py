"""`ScriptedLogins`: OpenID providers without a network, whose answers the test sets."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.login import LoginEnded, UpstreamRequest
from tests.harness.clock import START


def user_at(provider: Provider, name: str = "ada", *groups: str, **changes: Any) -> AuthenticatedUser:
    """A user of the provider, in `hr-staff` if no groups are given. `changes` are fields of AuthenticatedUser."""
    fields: dict[str, Any] = {
        "subject": subject_of(provider.record.subject_domain, name),
        "provider": provider.name,
        "provider_uid": provider.uid,
        "groups": groups or ("hr-staff",),
        "auth_time": int(START.timestamp()),
        "claims": {"name": name.title()},
    }
    return AuthenticatedUser(**fields | changes)


@dataclass
class ScriptedLogins:
    """Implements `UpstreamLogins`. The users of visits have no tokens of the provider; those of `log_in` do.

    It rotates refresh tokens, and ends a login whose old one is sent again.
    """

    failure: Exception | None = None
    """Raised by every request while it is set."""

    user: str = "ada"
    """Who logs in at the next visit, with these groups and changes of `user_at`."""
    groups: tuple[str, ...] = ("hr-staff",)
    changes: dict[str, Any] = field(default_factory=dict)
    visits: list[UpstreamRequest] = field(default_factory=list)
    redeemed: list[tuple[UpstreamRequest, Mapping[str, str]]] = field(default_factory=list)

    users: dict[str, AuthenticatedUser] = field(default_factory=dict)
    """By `sub`: the users of `log_in` as the provider has them now. One who is not here has been deleted there."""
    asked: list[str] = field(default_factory=list)
    """The refresh tokens that `confirm` got."""
    replayed: list[str] = field(default_factory=list)
    """Those that were not current any more."""
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    """Cleared: `confirm` does not answer yet."""
    current: dict[str, str] = field(default_factory=dict)
    """By the login that a refresh token began with: the current one."""

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        self._fail()
        self.visits.append(request)
        return f"https://{provider.name}.example/authorize?{urlencode({'state': request.state})}"

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        self.redeemed.append((request, parameters))
        self._fail()
        return user_at(provider, self.user, *self.groups, **self.changes)

    def log_in(self, user: AuthenticatedUser) -> AuthenticatedUser:
        """Return the user with a refresh token of a new login at the provider, or with the tokens that they have."""
        if user.upstream is not None:
            self.users[user.subject] = user
            return user
        login = f"login-{len(self.current)}"
        self.current[login] = f"{login}.0"
        self.users[user.subject] = user
        return replace(user, upstream=UpstreamTokens(self.current[login]))

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        self.asked.append(tokens.refresh_token)
        if not tokens.refresh_token:
            await self.may_answer.wait()
            self._fail()
            return replace(self.users[subject], upstream=tokens)
        login, _, generation = tokens.refresh_token.partition(".")
        if self.failure is None and self.current[login] != tokens.refresh_token:
            self.replayed.append(tokens.refresh_token)
            raise LoginEnded
        if self.failure is None:
            self.current[login] = f"{login}.{int(generation) + 1}"
        rotated = UpstreamTokens(self.current[login])
        await self.may_answer.wait()
        self._fail()
        if subject not in self.users:
            raise LoginEnded
        return replace(self.users[subject], upstream=rotated)

    def _fail(self) -> None:
        if self.failure is not None:
            raise self.failure
