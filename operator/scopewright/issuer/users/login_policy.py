"""Which users may log in through a client, and where: one rule for login, code, refresh and exchange."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from scopewright.core.records.client import Login
from scopewright.issuer.observability.user_events import Way
from scopewright.issuer.state.providers import Provider, ProviderIndex

DEVELOPER: Final = "developer login"
"""The provider of the developer login. It stands in for every provider; the space keeps it apart from their names."""

_MUST_NAME_PROVIDERS: Final = (
    "The application does not say whose users may log in: its OAuthClient must name identityProviders."
)


def way_of(name: str, provider: Provider | None) -> Way:
    """How users log in at the provider of this name; None if it is not in force any more, or is the developer login."""
    if name == DEVELOPER:
        return "developer"
    return "static" if provider is not None and provider.record.oidc is None else "openid"


class ProvenUser(Protocol):
    """A session, or a user who has just logged in."""

    @property
    def provider(self) -> str: ...

    @property
    def provider_uid(self) -> str: ...

    @property
    def groups(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class LoginPolicy:
    """`providers` are those in force now. Without any, `developer` returns whether the developer login is offered."""

    providers: ProviderIndex
    developer: Callable[[], bool] = lambda: False

    @property
    def offers_developer_login(self) -> bool:
        return not self.providers and self.developer()

    @property
    def offers_login(self) -> bool:
        """Whether any user can log in: only then does the metadata have the endpoints of users."""
        return self.offers_developer_login or len(self.providers) > 0

    def offered(self, login: Login) -> tuple[Provider, ...]:
        """The providers whose users may log in through a client. One that names none has the only one."""
        if login.identity_providers:
            return tuple(p for p in self.providers if p.name in login.identity_providers)
        return tuple(self.providers) if len(self.providers) == 1 else ()

    def missing_provider(self, login: Login) -> str:
        """Return why `offered` is empty, for a page: what the team of the application has to do."""
        if login.identity_providers:
            names = ", ".join(login.identity_providers)
            return f"No login of the application is ready: its OAuthClient names {names} as identityProviders."
        if len(self.providers) > 1:
            return _MUST_NAME_PROVIDERS
        return "No login is ready: no IdentityProvider is in force."

    def refusal_of(self, login: Login | None, user: ProvenUser) -> str:
        """Return why the user may not use the client, for its page; empty if the user may."""
        if login is None:
            return "The application does not log users in: its OAuthClient has no login."
        return self.refusal_of_provider(login, user) or _refusal_of_groups(login, user)

    def refusal_of_provider(self, login: Login, user: ProvenUser) -> str:
        """As `refusal_of`, whatever the groups of the user are."""
        if user.provider == DEVELOPER:
            offered = self.offers_developer_login
            return "" if offered else "The developer login is not offered any more. Log in again."
        if self.providers.find(user.provider, user.provider_uid) is None:
            return "The provider that logged you in is not in use any more. Log in again."
        offered = any(provider.name == user.provider for provider in self.offered(login))
        return "" if offered else _other_provider(login, user.provider)


def _refusal_of_groups(login: Login, user: ProvenUser) -> str:
    if login.allowed_groups is None or set(login.allowed_groups).intersection(user.groups):
        return ""
    allowed = ", ".join(login.allowed_groups) or "no group at all"
    return f"The application is for members of {allowed} only. You are not a member."


def _other_provider(login: Login, provider: str) -> str:
    if not login.identity_providers:
        return _MUST_NAME_PROVIDERS
    allowed = ", ".join(login.identity_providers)
    return f"The application accepts users of {allowed} only. You are logged in by {provider}."
