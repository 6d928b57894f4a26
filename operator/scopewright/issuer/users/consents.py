"""Consents of users: which client may do what for whom."""

from scopewright.issuer.state.entries import Client
from scopewright.issuer.users.stored import DelegatedAccess
from scopewright.stores.sessions.sealed import SealedSessions


class Consents:
    """A consent is by user, client, API and scopes. It ends 180 days after its last use, and when the client or the API
    is deleted, or the hosts of the client's redirect URIs or its authentication method change.
    """

    def __init__(self, store: SealedSessions) -> None:
        self._store = store

    async def covers(self, client: Client, delegated: DelegatedAccess) -> bool:
        """Whether the user has consented to all of it, for this client."""
        raise NotImplementedError

    async def remember(self, client: Client, delegated: DelegatedAccess) -> None:
        """Store the consent, in addition to earlier ones."""
        raise NotImplementedError
