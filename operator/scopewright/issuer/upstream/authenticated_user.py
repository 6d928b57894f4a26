"""A user as an identity provider has just authenticated them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class UpstreamTokens:
    """Tokens of the provider for one login. Stored in `UpstreamLogin`; only the provider gets them."""

    refresh_token: str = field(default="", repr=False)
    access_token: str = field(default="", repr=False)
    """For userinfo, if there is no refresh token."""


@dataclass(frozen=True, slots=True)
class AuthenticatedUser:
    """`subject` is the `sub` of tokens here (`core.users.subject_of`); times are seconds since the epoch."""

    subject: str
    provider: str
    """Name of the identity provider, or DEVELOPER."""
    provider_uid: str
    groups: tuple[str, ...]
    auth_time: int
    """0: not known, which is longer ago than any `max_age`."""
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Standard claims (OpenID Connect Core §5.1) for ID tokens and userinfo: name, preferred_username, email,
    email_verified and so on, without `sub` and `groups`."""
    acr: str = ""
    amr: tuple[str, ...] = ()
    upstream: "UpstreamTokens | None" = None
    """What the provider gave to ask it again. None for static users and the developer login."""

    @property
    def display_name(self) -> str:
        """The user's name for pages."""
        return str(self.claims.get("name") or self.claims.get("preferred_username") or self.subject)
