"""The tokens of a fake issuer: signed as the real issuer signs them, inspected and revoked. No HTTP."""

import hashlib
import secrets
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from scopewright import base64url
from scopewright.testing.keys import FakeSigningKey
from scopewright.verifier.jws import parse
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import TokenRejected
from scopewright.verifier.revoked import CHAIN, Revoked

LIFETIME_SECONDS: Final = 600
OF_LOGIN: Final = ("sid", "auth_time", "acr", "amr")
"""The claims about the login of a user, which an exchanged token has too."""
_MAX_PUBLISHED_KEYS: Final = 10
_MAX_TOKEN_BYTES: Final = 64 * 1024
_UID_HASH_LENGTH: Final = 12
_JTI_BYTES: Final = 16


class FakeTokens:
    """Keys, and tokens of them. Threads may share it."""

    def __init__(self, issuer: str, audience: str, algorithm: str) -> None:
        self.issuer = issuer
        self.audience = audience
        self._lock = threading.Lock()
        self._keys = [FakeSigningKey.generate(algorithm)]
        self._revoked: dict[str, dict[str, int]] = {}
        self._ended_sessions: set[str] = set()

    def rotate(self) -> None:
        """The former keys stay published, up to a number."""
        key = FakeSigningKey.generate(self._keys[-1].algorithm)
        with self._lock:
            self._keys = [*self._keys, key][-_MAX_PUBLISHED_KEYS:]

    def jwks(self) -> dict[str, Any]:
        return {"keys": [dict(key.jwk) for key in self._keys]}

    @property
    def algorithm(self) -> str:
        return self._keys[-1].algorithm

    def make(
        self,
        scopes: Iterable[str],
        *,
        client: str,
        subject: str | None = None,
        roles: Collection[str] = (),
        sid: str | None = None,
        audience: str | Collection[str] | None = None,
        expires_in: float = LIFETIME_SECONDS,
        on_behalf_of: str | None = None,
        claims: Mapping[str, Any] | None = None,
        header: Mapping[str, Any] | None = None,
    ) -> str:
        """A signed token; see `FakeIssuer.token`. Raises ValueError."""
        if subject is not None and on_behalf_of is not None:
            raise ValueError("on_behalf_of= names the subject too; omit subject=")
        if sid is not None and subject is None:
            raise ValueError("sid= is the session of a user: pass subject= too, and neither with on_behalf_of=")
        now = int(time.time())
        audience = self.audience if audience is None else audience
        content: dict[str, Any] = {
            "iss": self.issuer,
            "sub": subject or client,
            "aud": audience if isinstance(audience, str) else list(audience),
            "client_id": client,
            "scope": scopes if isinstance(scopes, str) else " ".join(scopes),
        }
        if roles:
            content["roles"] = [roles] if isinstance(roles, str) else list(roles)
        if sid is not None:
            content |= {"sid": sid, "auth_time": now}
        expires_at = now + int(expires_in)
        if on_behalf_of is not None:
            caller = self._exchanged(on_behalf_of, client)
            expires_at = min(expires_at, caller.pop("exp"))
            content |= caller
        content |= {
            "iat": min(now, expires_at - 1),
            "exp": expires_at,
            "jti": _uid_hash(client) + base64url.encode(secrets.token_bytes(_JTI_BYTES)),
        }
        return self._keys[-1].token(header or {}, {**content, **(claims or {})})

    def _exchanged(self, token: str, client: str) -> dict[str, Any]:
        """The claims of an exchanged token that come from its subject token (RFC 8693 §4.1), and the latest `exp`."""
        found = self._signed_claims(token)
        if found is None or not self._is_active(*found):
            raise ValueError("on_behalf_of= takes a token of this issuer that is valid now")
        kid, claims = found
        before = claims.get("act") or ({"sub": claims["client_id"]} if "sid" in claims else None)
        act = {"sub": client} | ({"act": before} if before is not None else {})
        summary = {name: claims.get(name) for name in ("jti", "client_id", "aud", "scope", "iat")} | {"kid": kid}
        summary |= {"roles": claims["roles"]} if claims.get("roles") else {}
        login = {name: claims[name] for name in OF_LOGIN if name in claims}
        chain = [*claims.get(CHAIN, ()), summary]
        return {"sub": claims["sub"], **login, "act": act, CHAIN: chain, "exp": claims["exp"]}

    def inspect(self, token: str) -> Mapping[str, Any] | None:
        """The claims of a token that this issuer signed, and that has neither expired nor been revoked."""
        found = self._signed_claims(token)
        return found[1] if found is not None and self._is_active(*found) else None

    def revoke(self, token: str) -> None:
        """Also ends the tokens that were exchanged from it. Raises ValueError for a token of another issuer."""
        found = self._signed_claims(token)
        if found is None:
            raise ValueError("revoke takes a token of this issuer")
        jti, expires_at = str(found[1].get("jti")), _expiry(found[1])
        with self._lock:
            self._revoked.setdefault(jti[:_UID_HASH_LENGTH], {})[_entry(jti)] = expires_at

    def end_session(self, token: str) -> None:
        """Ends all tokens of the session. Raises ValueError unless it is the token of a user of this issuer."""
        found = self._signed_claims(token)
        if found is None or "sid" not in found[1]:
            raise ValueError("end_session takes the token of a user: make one with sid=")
        with self._lock:
            self._ended_sessions.add(_entry(str(found[1]["sid"])))

    def feed(self) -> dict[str, Any]:
        """The revocation feed."""
        with self._lock:
            tokens = {client: dict(ended) for client, ended in self._revoked.items()}
            sessions = sorted(self._ended_sessions)
        none: dict[str, Any] = {name: {} for name in ("clients", "access", "audiences", "namespaces")}
        of_users = {"sessions": sessions} if sessions else {}
        return {"issuer": self.issuer, "tokens": tokens, **none, "everybody": 0, "kids": [], **of_users}

    def _signed_claims(self, token: str) -> tuple[str, Mapping[str, Any]] | None:
        """The `kid` and the claims of a token that this issuer signed."""
        try:
            signed = parse(token, _MAX_TOKEN_BYTES)
        except TokenRejected:
            return None
        key = KeySet.parse(self.jwks()).get(str(signed.header.get("kid")))
        if key is None or not key.verifies(signed.signing_input, signed.signature):
            return None
        return key.kid, signed.claims

    def _is_active(self, kid: str, claims: Mapping[str, Any]) -> bool:
        is_own = claims.get("iss") == self.issuer and time.time() < _expiry(claims)
        return is_own and not Revoked.parse(self.feed(), self.issuer).has_ended(claims, kid)


def _expiry(claims: Mapping[str, Any]) -> int:
    """0 without a number: a token may have any claims."""
    expires_at = claims.get("exp")
    return int(expires_at) if isinstance(expires_at, int | float) else 0


def _uid_hash(client: str) -> str:
    """The prefix of each `jti`. The real one is of the OAuthClient's UID."""
    return base64url.encode(hashlib.sha256(client.encode()).digest())[:_UID_HASH_LENGTH]


def _entry(jti: str) -> str:
    """The name of a token or a session in the revocation feed."""
    return base64url.encode(hashlib.sha256(jti.encode()).digest()[:8])
