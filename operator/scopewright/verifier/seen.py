"""A cache of verified tokens. A token in it needs no second verification of its signature."""

from dataclasses import dataclass

from scopewright.verifier.keyset import Key
from scopewright.verifier.revoked import Revoked
from scopewright.verifier.token import Token


@dataclass(frozen=True, slots=True)
class CachedToken:
    """`revoked` is the feed that the token was last checked against."""

    token: Token
    key: Key
    revoked: Revoked | None = None


class VerifiedTokens:
    """At most `size` tokens in two generations, young and old. Those that are not used are removed first.

    A hit in the old generation moves to the young one; a full young generation becomes the old one. Each step is one
    dict operation, so threads need no lock. The caller checks expiry, scopes, revocation and whether the key is still
    published.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[str, CachedToken] = {}
        self._old: dict[str, CachedToken] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, token: str) -> CachedToken | None:
        cached = self._young.get(token)
        if cached is None:
            cached = self._old.pop(token, None)
            if cached is not None:
                self.add(token, cached)
        return cached

    def add(self, token: str, verified: CachedToken) -> None:
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[token] = verified

    def forget(self, token: str) -> None:
        self._young.pop(token, None)
        self._old.pop(token, None)
