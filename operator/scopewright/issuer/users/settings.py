"""Settings of the users' endpoints."""

from dataclasses import dataclass, field

from scopewright.issuer.upstream.login import PasswordLogins, UpstreamLogins
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.turns import Turns
from scopewright.stores.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class UserEndpointSettings:
    """Where sessions are stored, and how users log in."""

    store: SessionStore
    developer: DeveloperLogin | None = None
    """Of `scopewright dev`: offered while there is no IdentityProvider."""
    allow_loopback: bool = False
    """Whether providers may be on loopback and plain http: those of `scopewright dev` and of tests may."""
    upstreams: UpstreamLogins | None = None
    """Logs users in at OpenID providers. Tests replace it; None: the client that the issuer makes itself."""
    passwords: PasswordLogins | None = None
    """Logs static users in, with None as above."""
    turns: Turns = field(default_factory=Turns)
    """Of all users' requests of the process."""
