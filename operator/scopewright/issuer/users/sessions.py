"""Sessions of users: begun by a login, found by the cookie of a browser or by `sid`, ended by a logout."""

from scopewright.issuer.users.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.stored import Session
from scopewright.stores.sessions.sealed import SealedSessions


class UserSessions:
    """All methods raise `Unavailable` while the store is away."""

    def __init__(self, store: SealedSessions) -> None:
        self._store = store

    async def begin(self, user: AuthenticatedUser) -> tuple[str, Session]:
        """Store a session for the user, who has just logged in. Return the value of the cookie, `sid.secret`, and it."""
        raise NotImplementedError

    async def of_cookie(self, cookie: str) -> Session | None:
        """Return the session of the browser; None if it has ended, is idle, or the cookie is wrong."""
        raise NotImplementedError

    async def of_sid(self, sid: str) -> Session | None:
        """Return the session; None if it has ended. An idle one is found: its refresh tokens stay valid."""
        raise NotImplementedError

    async def end(self, sid: str) -> None:
        """End the session, and with it all its codes, refresh tokens and tokens."""
        raise NotImplementedError
