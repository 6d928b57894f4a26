"""Parses the issuer's revocation feed, and looks up whether a token has been revoked. No I/O.

The feed names clients by the hash of their UID, which is the prefix of the `jti` of their tokens, and tokens and
audiences by a hash. Each instant is a not-before: tokens issued then or earlier are revoked.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from scopewright import base64url

CHAIN = "scopewright_chain"
"""The private claim of an exchanged token: the tokens that it was exchanged from, oldest first."""

USER_MEMBERS = ("sessions", "users", "userAccess", "userClients", "userTokens", "everyUser")
"""Of the feed, for tokens of users. The issuer omits empty ones."""

_UID_HASH_SIZE = 12
_GRANT_KEY_SIZE = _UID_HASH_SIZE + 12
"""Characters that the `jti` of all tokens by one authorization code share, which one entry revokes."""
_KEY_BYTES = 8
_NAMESPACE_AUDIENCE = re.compile(r"https://[^./:]+\.([^./:]+)\.svc")

Times = Mapping[str, float]
Nested = Mapping[str, Times]


@dataclass(frozen=True, slots=True, eq=False)
class Revoked:
    tokens: Nested
    clients: Times
    access: Nested
    audiences: Times
    namespaces: Times
    all_clients: float
    kids: frozenset[str]
    of_users: "_RevokedOfUsers | None"

    @classmethod
    def parse(cls, document: Mapping[str, Any], issuer: str) -> Self:
        """Ignores unknown members. Raises ValueError for another issuer or malformed members."""
        if document.get("issuer") != issuer:
            raise ValueError(f"it is of issuer {document.get('issuer')!r}")
        return cls(
            tokens=_nested(document.get("tokens")),
            clients=_times(document.get("clients")),
            access=_nested(document.get("access")),
            audiences=_times(document.get("audiences")),
            namespaces=_times(document.get("namespaces", {})),
            all_clients=_instant(document.get("everybody")),
            kids=_names(document.get("kids")),
            of_users=_RevokedOfUsers.parse(document),
        )

    def has_ended(self, claims: Mapping[str, Any], kid: str) -> bool:
        """Whether the token, one that it was exchanged from, or access that it depends on has been revoked."""
        audience, issued = claims.get("aud"), _issued(claims)
        if self._has_ended(claims, audience, issued, kid):
            return True
        for token in _chain(claims):
            if self._has_ended(token, token.get("aud"), _issued(token), token.get("kid")):
                return True
            # The exchanged token also depends on the access of this client at its own audience.
            if self._has_ended(token, audience, issued, kid):
                return True
        return self.of_users is not None and "sid" in claims and self.of_users.has_ended(claims)

    def _has_ended(self, token: Mapping[str, Any], audience: Any, issued: float, kid: Any) -> bool:
        jti = token.get("jti")
        jti, client, key = str(jti), str(jti)[:_UID_HASH_SIZE], _key(str(audience))
        none: Times = {}
        latest = max(
            self.all_clients,
            self.clients.get(client, 0),
            self.audiences.get(key, 0),
            self.access.get(client, none).get(key, 0),
        )
        if self.namespaces:
            latest = max(latest, self._of_namespaces(token.get("client_id"), audience))
        revoked = client in self.tokens and _key(jti) in self.tokens[client]
        return revoked or kid in self.kids or 0 < latest >= issued

    def _of_namespaces(self, client_id: Any, audience: Any) -> float:
        """The not-before of the client's namespace, or of the API's if its audience names one."""
        of_client = self.namespaces.get(_key(str(client_id).partition(".")[0]), 0)
        named = _NAMESPACE_AUDIENCE.fullmatch(str(audience))
        return max(of_client, self.namespaces.get(_key(named[1]), 0) if named else 0)


@dataclass(frozen=True, slots=True, eq=False)
class _RevokedOfUsers:
    """The members for tokens of users: those with a `sid`."""

    sessions: frozenset[str]
    users: Times
    access: Times
    clients: Times
    tokens: Nested
    all_users: float

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self | None:
        """None if there are none: an earlier issuer has no such members, and others omit empty ones."""
        if not any(document.get(member) for member in USER_MEMBERS):
            return None
        return cls(
            sessions=_names(document.get("sessions", [])),
            users=_times(document.get("users", {})),
            access=_times(document.get("userAccess", {})),
            clients=_times(document.get("userClients", {})),
            tokens=_nested(document.get("userTokens", {})),
            all_users=_instant(document.get("everyUser", 0)),
        )

    def has_ended(self, claims: Mapping[str, Any]) -> bool:
        if self.sessions and _key(str(claims.get("sid"))) in self.sessions:
            return True
        user = _key(str(claims.get("sub")))
        return any(self._has_ended(token, user) for token in (claims, *_chain(claims)))

    def _has_ended(self, token: Mapping[str, Any], user: str) -> bool:
        jti = str(token.get("jti"))
        client = jti[:_UID_HASH_SIZE]
        latest = max(
            self.all_users,
            self.users.get(user, 0),
            self.clients.get(client, 0),
            self.access.get(_key(str(token.get("aud"))), 0),
        )
        if ended := self.tokens.get(client):
            if _key(jti) in ended or _key(jti[:_GRANT_KEY_SIZE]) in ended:
                return True
            latest = max(latest, ended.get(user, 0))
        return 0 < latest >= _issued(token)


def _issued(claims: Mapping[str, Any]) -> float:
    """`iat` in seconds since 1970; 0 if it is missing."""
    issued = claims.get("iat")
    return float(issued) if isinstance(issued, int | float) else 0.0


def _chain(claims: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    chain = claims.get(CHAIN)
    return (token for token in (chain if isinstance(chain, list) else ()) if isinstance(token, dict))


def _key(text: str) -> str:
    return base64url.encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES])


def _nested(value: Any) -> Nested:
    if not isinstance(value, dict):
        raise ValueError("a member is not an object")  # noqa: TRY004  # one error for all that is malformed
    return {name: _times(times) for name, times in value.items()}


def _times(value: Any) -> Times:
    if not isinstance(value, dict):
        raise ValueError("a member is not an object")  # noqa: TRY004  # one error for all that is malformed
    return {name: _instant(instant) for name, instant in value.items()}


def _names(value: Any) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("a member is not a list of names")
    return frozenset(value)


def _instant(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("an instant is not a number")  # noqa: TRY004  # one error for all that is malformed
    return float(value)
