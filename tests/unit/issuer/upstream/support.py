"""`LoginHarness`: the issuer as a client of a scriptable provider, without pages and sessions."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from scopewright.core.records.identity_provider import ClaimMappings, IdentityProviderRecord, UpstreamClient
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.client import OpenIDLogins
from scopewright.issuer.upstream.login import LoginRefused, UpstreamRequest
from scopewright.upstream import UpstreamFailed
from tests.harness.clock import Clock
from tests.harness.openid_provider import OpenIDProvider

REDIRECT_URI = "https://issuer.example/callback/company"
MAPPINGS = ClaimMappings(groups=("groups",), groups_allow=("hr-*",))
RECORD = IdentityProviderRecord("company", "uid-of-company", "Company", "https://company.example", claims=MAPPINGS)


def new_request(clock: Callable[[], float], **changes: Any) -> UpstreamRequest:
    request = UpstreamRequest(
        redirect_uri=REDIRECT_URI,
        state=secrets.token_urlsafe(16),
        nonce=secrets.token_urlsafe(16),
        code_verifier=secrets.token_urlsafe(32),
        started=clock(),
    )
    return replace(request, **changes)


@dataclass
class LoginHarness:
    """`oidc` and `claims` are changes of the record."""

    openid: OpenIDProvider
    clock: Clock
    oidc: dict[str, Any] = field(default_factory=dict)
    claims: ClaimMappings = MAPPINGS
    observed: list[tuple[str, str]] = field(default_factory=list)
    """Operations and results."""
    seconds: float = 0.0
    """The timer of caches."""

    def __post_init__(self) -> None:
        self.logins = OpenIDLogins(
            allow_loopback=True,
            observe=lambda name, operation, result: self.observed.append((operation, result)),
            clock=self.clock,
            timer=lambda: self.seconds,
        )

    @property
    def provider(self) -> Provider:
        oidc = replace(UpstreamClient(self.openid.issuer, self.openid.client_id), **self.oidc)
        return Provider(replace(RECORD, oidc=oidc, claims=self.claims), self.openid.client_secret)

    async def url(self, **request: Any) -> str:
        return await self.logins.authorization_url(self.provider, new_request(self.clock, **request))

    async def login(self, **request: Any) -> AuthenticatedUser:
        """The user of a whole login. `request` are changes of the UpstreamRequest."""
        asked = new_request(self.clock, **request)
        url = await self.logins.authorization_url(self.provider, asked)
        return await self.logins.redeem(self.provider, asked, self.openid.answer(url))

    async def refusal(self, **request: Any) -> LoginRefused:
        with pytest.raises(LoginRefused) as raised:
            await self.login(**request)
        return raised.value

    async def failure(self) -> UpstreamFailed:
        with pytest.raises(UpstreamFailed) as raised:
            await self.login()
        return raised.value

    async def confirm(self, user: AuthenticatedUser, tokens: UpstreamTokens | None = None) -> AuthenticatedUser:
        kept = tokens or user.upstream
        assert kept is not None
        return await self.logins.confirm(self.provider, user.subject, kept)
