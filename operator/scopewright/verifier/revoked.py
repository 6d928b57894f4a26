"""What a service must refuse though it has not expired: the issuer's revocation feed, read and asked. Pure.

The feed names clients by the hash of their UID, which the `jti` of each of their tokens begins with, and tokens and
audiences by a hash. What maps to an instant is a not-before: tokens issued then or earlier have ended.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

CHAIN = "scopewright_chain"
"""The private claim of an exchanged token: the tokens that it came from, the first one first."""

_UID_HASH_SIZE = 12
_KEY_BYTES = 8
_OF_A_NAMESPACE = re.compile(r"https://[^./:]+\.([^./:]+)\.svc")

Marks = Mapping[str, float]
Nested = Mapping[str, Marks]


@dataclass(frozen=True, slots=True, eq=False)
class Revoked:
    tokens: Nested
    clients: Marks
    access: Nested
    audiences: Marks
    namespaces: Marks
    everybody: float
    kids: frozenset[str]

    @classmethod
    def parse(cls, document: Mapping[str, Any], issuer: str) -> Self:
        """Raises ValueError; members that are not known are ignored."""
        if document.get("issuer") != issuer:
            raise ValueError(f"it is of issuer {document.get('issuer')!r}")
        kids = document.get("kids")
        if not isinstance(kids, list) or not all(isinstance(kid, str) for kid in kids):
            raise ValueError("`kids` is not a list of key ids")
        return cls(
            tokens=_nested(document.get("tokens")),
            clients=_marks(document.get("clients")),
            access=_nested(document.get("access")),
            audiences=_marks(document.get("audiences")),
            namespaces=_marks(document.get("namespaces", {})),
            everybody=_instant(document.get("everybody")),
            kids=frozenset(kids),
        )

    def has_ended(self, claims: Mapping[str, Any], kid: str) -> bool:
        """Whether the verified token has, or one that it was exchanged from, or somebody's access that it relied on."""
        audience, issued = claims.get("aud"), _issued(claims)
        if self._has_ended(claims, audience, issued, kid):
            return True
        for link in _chain(claims):
            if self._has_ended(link, link.get("aud"), _issued(link), link.get("kid")):
                return True
            # It gives at this audience what the subject has here too.
            if self._has_ended(link, audience, issued, kid):
                return True
        return False

    def _has_ended(self, whose: Mapping[str, Any], audience: Any, issued: float, kid: Any) -> bool:
        jti = whose.get("jti")
        jti, client, key = str(jti), str(jti)[:_UID_HASH_SIZE], _key(str(audience))
        none: Marks = {}
        latest = max(
            self.everybody,
            self.clients.get(client, 0),
            self.audiences.get(key, 0),
            self.access.get(client, none).get(key, 0),
        )
        if self.namespaces:
            latest = max(latest, self._of_namespaces(whose.get("client_id"), audience))
        revoked = client in self.tokens and _key(jti) in self.tokens[client]
        return revoked or kid in self.kids or 0 < latest >= issued

    def _of_namespaces(self, client_id: Any, audience: Any) -> float:
        """The not-before of the client's namespace, or of the API's as far as its audience tells."""
        of_client = self.namespaces.get(_key(str(client_id).partition(".")[0]), 0)
        named = _OF_A_NAMESPACE.fullmatch(str(audience))
        return max(of_client, self.namespaces.get(_key(named[1]), 0) if named else 0)


def _issued(claims: Mapping[str, Any]) -> float:
    """Before everything, where it is not said."""
    issued = claims.get("iat")
    return float(issued) if isinstance(issued, int | float) else 0.0


def _chain(claims: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    chain = claims.get(CHAIN)
    return (link for link in (chain if isinstance(chain, list) else ()) if isinstance(link, dict))


def _key(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES]).rstrip(b"=").decode()


def _nested(value: Any) -> Nested:
    if not isinstance(value, dict):
        raise ValueError("a member is not an object")  # noqa: TRY004  # one error for all that is malformed
    return {name: _marks(marks) for name, marks in value.items()}


def _marks(value: Any) -> Marks:
    if not isinstance(value, dict):
        raise ValueError("a member is not an object")  # noqa: TRY004  # one error for all that is malformed
    return {name: _instant(instant) for name, instant in value.items()}


def _instant(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("an instant is not a number")  # noqa: TRY004  # one error for all that is malformed
    return float(value)
