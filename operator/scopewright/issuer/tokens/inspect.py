"""A token that comes back: taken apart, its signature verified, and no word yet on whether it is still in force.

Only tokens of this issuer are read, so their header is compared and not parsed: nobody chooses an algorithm.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from scopewright.core.records import IssuerRecord
from scopewright.issuer.state.entries import UID_HASH_LENGTH
from scopewright.issuer.state.keyring import Keyring
from scopewright.issuer.state.keys import LoadedKey, b64url
from scopewright.verifier.revoked import CHAIN

_REMEMBERED: Final = 5_000
_REMEMBERED_SIZE: Final = 8 * 1024 * 1024
"""Characters of their tokens: a tenant's can be ten times as long as most, and must not be the issuer's memory."""


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """As much of a token as its standing depends on. `issued` is its `iat`."""

    jti: str
    client_id: str
    audience: str
    scope: str
    issued: int
    kid: str

    @property
    def client(self) -> str:
        """The hash of the UID of the OAuthClient that it was issued to."""
        return self.jti[:UID_HASH_LENGTH]

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.scope.split(" "))

    def claim(self) -> dict[str, Any]:
        return {
            "jti": self.jti,
            "client_id": self.client_id,
            "aud": self.audience,
            "scope": self.scope,
            "iat": self.issued,
            "kid": self.kid,
        }


@dataclass(frozen=True, slots=True)
class InspectedToken:
    """A token that this issuer has signed. `chain` are the tokens that it came from, the first one first."""

    claims: Mapping[str, Any]
    link: TokenSummary
    chain: tuple[TokenSummary, ...]
    expires: int

    @property
    def bound(self) -> bool:
        """Whether it is of use only to whoever holds a key (RFC 9449)."""
        return "jkt" in self.claims.get("cnf", ())


class Inspector:
    """Remembers what it has verified: a signature costs ten times what everything else does.

    It remembers a hash of the token, and for a token twice at the most: a young generation and an old one.
    """

    def __init__(self, keys: Keyring, remembered: int = _REMEMBERED, size: int = _REMEMBERED_SIZE) -> None:
        self._keys = keys
        self._half = remembered // 2
        self._half_size = size // 2
        self._young_size = 0
        self._young: dict[bytes, tuple[LoadedKey, InspectedToken]] = {}
        self._old: dict[bytes, tuple[LoadedKey, InspectedToken]] = {}

    def inspect(self, token: str, issuer: IssuerRecord, now: float) -> InspectedToken | None:
        """None: no token of ours, signed by a key that is published now, whose `exp` is still to come."""
        keys = self._keys.jwks(now)
        digest = hashlib.sha256(token.encode()).digest()
        found = self._young.get(digest) or self._old.pop(digest, None)
        if found is None or keys.keys.get(found[0].kid) is not found[0]:
            found = _verified(token, keys.by_header, issuer.issuer)
            if found is None:
                return None
        if digest not in self._young:
            self._remember(digest, found, len(token))
        inspected = found[1]
        good = inspected.claims["iss"] == issuer.issuer and inspected.link.issued <= now + issuer.clock_skew
        return inspected if good and now < inspected.expires else None

    def _remember(self, digest: bytes, found: tuple[LoadedKey, InspectedToken], size: int) -> None:
        if len(self._young) >= self._half or self._young_size + size > self._half_size:
            self._old, self._young, self._young_size = self._young, {}, 0
        self._young[digest] = found
        self._young_size += size


def _verified(token: str, keys: Mapping[bytes, LoadedKey], issuer: str) -> tuple[LoadedKey, InspectedToken] | None:
    try:
        signing_input, _, signature = token.encode("ascii").rpartition(b".")
        header, _, payload = signing_input.partition(b".")
        key = keys.get(header)
        if key is None or not key.verifies(signing_input, _decoded(signature)):
            return None
        return key, _read(orjson.loads(_decoded(payload)), key.kid)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        return None


def _decoded(part: bytes) -> bytes:
    """Canonical base64url only: one token has one spelling."""
    data = base64.b64decode(part + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    if b64url(data) != part:
        raise ValueError("not canonical")
    return data


def _read(claims: dict[str, Any], kid: str) -> InspectedToken:
    """What this issuer, of this or another version, has signed; or one of the errors that say that it has not."""
    return InspectedToken(
        claims, _link(claims | {"kid": kid}), tuple(map(_link, claims.get(CHAIN, ()))), int(claims["exp"])
    )


def _link(claims: Mapping[str, Any]) -> TokenSummary:
    texts = [claims[name] for name in ("jti", "client_id", "aud", "scope", "kid")]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    jti, client_id, audience, scope, kid = texts
    return TokenSummary(jti, client_id, audience, scope, int(claims["iat"]), kid)
