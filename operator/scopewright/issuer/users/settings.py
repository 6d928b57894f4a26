"""Settings of the users' endpoints."""

from dataclasses import dataclass

from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.stores.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class UserEndpointSettings:
    """Where sessions are stored, and how users log in."""

    store: SessionStore
    login: DeveloperLogin
