"""A login at an OpenID provider, as the pages use it. `issuer.upstream.client` implements `UpstreamLogins`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.upstream import FailureReason, UpstreamFailed

CHECK_SECONDS: Final = 2.0
"""How long a refresh waits for the provider to confirm its user."""

RefusedReason = Literal[
    "provider_denied",
    "provider_error",
    "response_iss",
    "id_token",
    "userinfo",
    "subject",
    "too_many_groups",
    "login_too_old",
    "code",
]
"""For the audit log and the page: each has a text of its own in `users/texts.py`."""


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One visit to the provider. `state`, `nonce` and `code_verifier` are secrets of the attempt in the browser."""

    redirect_uri: str
    """`<issuer>/callback/<provider>`."""
    state: str = field(repr=False)
    nonce: str = field(repr=False)
    code_verifier: str = field(repr=False)
    started: float
    """Seconds since the epoch: a login that must be fresh is not older than this, minus the clock skew."""
    fresh: bool = False
    """Whether the user must log in again, whatever session the provider has (`prompt=login`, `max_age` exceeded)."""
    max_age: int | None = None
    """Seconds; sent to the provider, and checked in its answer."""
    prompt: tuple[str, ...] = ()
    """`login` also where the user may choose another account (`select_account`)."""
    login_hint: str = ""
    acr_values: str = ""
    ui_locales: str = ""


class LoginRefused(Exception):
    """The provider did not log the user in, or its answer is not acceptable. `detail` is for the audit log.

    `tokens` are those of a check: they replace the stored ones.
    """

    def __init__(self, reason: RefusedReason, detail: str, tokens: UpstreamTokens | None = None) -> None:
        super().__init__(detail)
        self.reason: Final = reason
        self.detail: Final = detail
        self.tokens: Final = tokens


class CheckFailed(UpstreamFailed):
    """The user is not confirmed, but the provider has already replaced the tokens: `tokens` must be stored."""

    def __init__(self, reason: FailureReason, message: str, tokens: UpstreamTokens) -> None:
        super().__init__(reason, message)
        self.tokens: Final = tokens


class LoginUnconfirmable(CheckFailed):
    """The provider has not ended the login, but no later question can confirm its user either: only a new login can."""


class LoginEnded(Exception):
    """The provider has ended the login, or its answer is about another user: the session ends."""


class UpstreamLogins(Protocol):
    """The issuer as a client of OpenID providers. All methods raise `scopewright.upstream.UpstreamFailed`."""

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        """Return where to send the browser."""
        ...

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        """Return the user of the authorization response, whose `state` was checked. Raises `LoginRefused`."""
        ...

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        """Return the user with the groups, claims and tokens as they are now. `subject` is that of the session.

        Raises `LoginEnded`, `LoginUnconfirmable`, or `LoginRefused` with `too_many_groups`. That and `CheckFailed` have
        the tokens to store: a provider that rotates refresh tokens has ended the earlier one. It must not be cancelled
        for the same reason; each of its three requests ends by itself.
        """
        ...


class WrongPassword(Exception):
    """There is no such user, or the password is wrong; callers cannot tell which."""


class TooManyAttempts(Exception):
    """The budget of the user and the address is used up. `retry_after` is in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"retry after {retry_after:.0f} s")
        self.retry_after: Final = retry_after


class PasswordsBusy(Exception):
    """Too many passwords are checked at the moment."""


class PasswordLogins(Protocol):
    """The logins of static users. `issuer.upstream.passwords` implements it."""

    async def verify(self, provider: Provider, username: str, password: str, address: str) -> AuthenticatedUser:
        """Return the user of a static provider. Raises `WrongPassword`, `TooManyAttempts` or `PasswordsBusy`.

        `address` is that of the browser.
        """
        ...

    def current(self, provider: Provider, subject: str) -> AuthenticatedUser | None:
        """Return a user with the groups and claims that the record has now; None if the user is not in it any more.

        `subject` is the `sub` of tokens here. `auth_time` is 0, because it is not a login.
        """
        ...
