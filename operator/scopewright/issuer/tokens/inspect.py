"""Parses a token and verifies its signature. Whether it is still valid is decided in `validity`.

Only tokens of this issuer are accepted. Their header is compared with the known ones and not parsed, so that no caller
chooses an algorithm.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final

import orjson

from scopewright import base64url
from scopewright.bounded import RecentDict
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.revocation_keys import UID_HASH_LENGTH
from scopewright.issuer.state.keyring import Keyring
from scopewright.issuer.state.keys import LoadedKey
from scopewright.verifier.revoked import CHAIN

_required: Final = itemgetter("jti", "client_id", "aud", "scope", "kid")
_MAX_VERIFIED: Final = 2_500
"""Of the tokens that were verified or came again last; twice as many are kept at most."""


@dataclass(slots=True)
class TokenSummary:
    """The claims that a token's validity depends on. `issued_at` is its `iat`.

    This and `InspectedToken` are never changed. They are not frozen because that takes 1.5 µs more for each token.
    """

    jti: str
    client_id: str
    audience: str
    scope: str
    issued_at: int
    kid: str
    roles: tuple[str, ...] = ()

    @property
    def uid_hash(self) -> str:
        """The hash of the UID of the OAuthClient."""
        return self.jti[:UID_HASH_LENGTH]

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(self.scope.split(" "))

    def as_claim(self) -> dict[str, Any]:
        return {
            "jti": self.jti,
            "client_id": self.client_id,
            "aud": self.audience,
            "scope": self.scope,
            "iat": self.issued_at,
            "kid": self.kid,
            **({"roles": self.roles} if self.roles else {}),
        }


@dataclass(slots=True)
class InspectedToken:
    """A token of this issuer. `token_chain` are the tokens that it was exchanged from, oldest first, and itself."""

    claims: Mapping[str, Any]
    summary: TokenSummary
    token_chain: tuple[TokenSummary, ...]
    expires_at: int
    sid: str = ""
    """Session of the user whose token it is. Empty: a client got it for itself."""

    @property
    def subject(self) -> str:
        return str(self.claims["sub"])

    @property
    def is_bound(self) -> bool:
        """Whether it is bound to a key (RFC 9449)."""
        return "jkt" in self.claims.get("cnf", ())


class Inspector:
    """Remembers which tokens were verified: verifying the signature takes ten times as long as parsing the claims.

    A token is known by its digest, which takes 200 bytes; its claims take ten times as much, and are not kept.
    """

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._verified: RecentDict[bytes, LoadedKey] = RecentDict(_MAX_VERIFIED)

    def inspect(self, token: str, issuer: IssuerRecord, now: float) -> InspectedToken | None:
        """None unless this issuer signed the token with a key that is published now, and it has not expired."""
        signing_input, _, signature = token.rpartition(".")
        header, _, payload = signing_input.partition(".")
        try:
            key = self._keys.jwks(now).by_header.get(header.encode("ascii"))
            if key is None or not self._is_signed(token, signing_input, signature, key):
                return None
            inspected = _read(orjson.loads(base64url.decode_canonical(payload)), key.kid)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        is_valid = inspected.claims["iss"] == issuer.issuer and inspected.summary.issued_at <= now + issuer.clock_skew
        return inspected if is_valid and now < inspected.expires_at else None

    def _is_signed(self, token: str, signing_input: str, signature: str, key: LoadedKey) -> bool:
        digest = hashlib.sha256(token.encode("ascii")).digest()
        if self._verified.get(digest) is key:
            return True
        raw = base64url.decode_canonical(signature)
        if not key.verification_key.verifies(signing_input.encode("ascii"), raw):
            return False
        self._verified[digest] = key
        return True


def _read(claims: dict[str, Any], kid: str) -> InspectedToken:
    """Claims of this issuer, of this or another version; raises KeyError, TypeError or ValueError for others."""
    summary = _summary(claims | {"kid": kid})
    chain = (*map(_summary, claims.get(CHAIN, ())), summary)
    sid = claims.get("sid", "")
    if not isinstance(sid, str):
        raise TypeError
    return InspectedToken(claims, summary, chain, int(claims["exp"]), sid)


def _summary(claims: Mapping[str, Any]) -> TokenSummary:
    jti, client_id, audience, scope, kid = values = _required(claims)
    if {*map(type, values)} != {str}:
        raise TypeError
    return TokenSummary(jti, client_id, audience, scope, int(claims["iat"]), kid, tuple(claims.get("roles", ())))
