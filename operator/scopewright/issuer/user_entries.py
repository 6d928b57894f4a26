"""Bounds how many revoked tokens of one user are entries of the revocation record."""

from typing import Final

from scopewright.bounded import BoundedDict

MAX_TOKENS_PER_USER: Final = 8
"""Revoked tokens of one user at one client, by one process. So one user does not reach `MAX_USER_TOKENS_PER_CLIENT`,
which ends the tokens of all users of the client, however many processes there are in practice."""
_MAX_COUNTED: Final = 10_000
"""Users with a client. Beyond it, the one whose token was revoked least recently is forgotten."""


class UserEntries:
    """Counts the revoked tokens of each user at each client."""

    def __init__(self) -> None:
        self._counted = BoundedDict[tuple[str, str], tuple[float, int]](_MAX_COUNTED)
        """The time of the first one, and how many since."""

    def admits(self, client: str, subject: str, now: float, lifetime: float) -> bool:
        """Count a token, and return whether it may have an entry of its own, which is dropped after `lifetime` seconds.

        If not, all tokens that the client has of the user must end with it: they share one entry.
        """
        since, count = self._counted.get((client, subject), (now, 0))
        if now >= since + lifetime:
            since, count = now, 0
        self._counted[client, subject] = since, count + 1
        return count < MAX_TOKENS_PER_USER
