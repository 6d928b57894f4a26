"""Tokens that have been verified, so that the next request with one costs no signature."""

from dataclasses import dataclass

from scopewright.verifier.keyset import Key
from scopewright.verifier.revoked import Revoked
from scopewright.verifier.token import Token


@dataclass(frozen=True, slots=True)
class Verified:
    """`revoked` is the feed that it was last held against."""

    token: Token
    key: Key
    revoked: Revoked | None = None


class VerifiedTokens:
    """At most `size` tokens, the least used forgotten first: a young generation and an old one.

    A hit in the old one moves to the young one; a full young one becomes the old one. That costs a hit nothing, and
    each step is one dict operation, so that threads need no lock. What is remembered says nothing about expiry, scope,
    revocation or whether the key is still published: whoever looks a token up checks these.
    """

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self._young: dict[str, Verified] = {}
        self._old: dict[str, Verified] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, token: str) -> Verified | None:
        found = self._young.get(token)
        if found is None:
            found = self._old.pop(token, None)
            if found is not None:
                self.add(token, found)
        return found

    def add(self, token: str, verified: Verified) -> None:
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}
        self._young[token] = verified

    def forget(self, token: str) -> None:
        self._young.pop(token, None)
        self._old.pop(token, None)
