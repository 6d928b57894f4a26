"""A user as an identity provider has just authenticated them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class AuthenticatedUser:
    """`subject` is our `sub` (`core.users.subject_of`); times are seconds since the epoch."""

    subject: str
    provider: str
    """Name of the identity provider; that of the developer login is `developer`."""
    provider_uid: str
    groups: tuple[str, ...]
    auth_time: int
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Standard claims (OpenID Connect Core §5.1) for ID tokens and userinfo: name, preferred_username, email,
    email_verified and so on, without `sub` and `groups`."""
    acr: str = ""
    amr: tuple[str, ...] = ()

    @property
    def display_name(self) -> str:
        """The user's name for pages."""
        return str(self.claims.get("name") or self.claims.get("preferred_username") or self.subject)
