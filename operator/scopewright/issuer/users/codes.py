"""Authorization codes (RFC 6749 §4.1.2)."""

from typing import Final

from scopewright.issuer.users.stored import Code
from scopewright.stores.sessions.sealed import SealedSessions

CODE_SECONDS: Final = 60


class Codes:
    def __init__(self, store: SealedSessions) -> None:
        self._store = store

    async def issue(self, code: Code) -> str:
        """Store it, and return the code: 256 random bits."""
        raise NotImplementedError
