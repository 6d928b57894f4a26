"""A cache of verified tokens. A token in it needs no second verification of its signature."""

from dataclasses import dataclass
from typing import Final

from scopewright.verifier.check import Policy
from scopewright.verifier.keyset import Key
from scopewright.verifier.revoked import Revoked
from scopewright.verifier.token import Token

TOKEN_BYTES: Final = 2048
"""A longer token takes the room of several: the memory has a bound, whatever the issuer puts into tokens."""


@dataclass(frozen=True, slots=True)
class CachedToken:
    """Valid until `until`, in seconds since 1970, for verifiers with this `policy`. `key` is None for an opaque token.
    `revoked` is the feed that the token was last checked against.
    """

    token: Token
    policy: Policy
    key: Key | None
    until: float
    revoked: Revoked | None = None
    is_introspected: bool = False


class TokenCache:
    """At most `size` tokens in two generations, recent and previous (none if `size` is less than 2). Those that are not
    used are removed first, and tokens of more than `TOKEN_BYTES` count several times. Verifiers of several audiences
    share it. Raises ValueError for a negative size.

    A hit in the previous generation moves to the recent one, which becomes the previous one when it is full. Each step
    is one dict operation, so threads need no lock; because of them the room may be wrong by a few tokens. The caller
    checks expiry, scopes, revocation and whether the key is still published.
    """

    def __init__(self, size: int) -> None:
        if size < 0:
            raise ValueError("cache_size must not be negative; 0 caches no token")
        self.size = size
        self._half = size // 2
        self._room = self._half
        """What is left of the recent generation."""
        self._recent: dict[str, CachedToken] = {}
        self._previous: dict[str, CachedToken] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._previous)

    def get(self, token: str, policy: Policy) -> CachedToken | None:
        """None also for a token that was verified with another policy."""
        cached = self._recent.get(token)
        if cached is None:
            cached = self._previous.pop(token, None)
            if cached is not None:
                self.add(token, cached)
        if cached is None or not (cached.policy is policy or cached.policy == policy):
            return None
        return cached

    def add(self, token: str, verified: CachedToken) -> None:
        if not self._half:
            return
        if token not in self._recent:
            cost = 1 + len(token) // TOKEN_BYTES
            if cost > self._room and self._recent:
                self._previous = self._recent
                self._recent, self._room = {}, self._half
            self._room -= cost
        self._recent[token] = verified

    def forget(self, token: str) -> None:
        self._recent.pop(token, None)
        self._previous.pop(token, None)
