"""ID tokens for users' logins: the only part of the users' rooms that signs."""

from collections.abc import Collection
from typing import Any

from scopewright.core.profile import allows
from scopewright.issuer.protocol.at_hash import at_hash
from scopewright.issuer.protocol.errors import unavailable
from scopewright.issuer.state.entries import Client
from scopewright.issuer.state.keyring import verifier_lag
from scopewright.issuer.state.keys import LoadedKey
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.id_token import IdTokenHint, read_hint, sign_id_token
from scopewright.issuer.users.claims import claims_of
from scopewright.issuer.users.stored import Session


class IdTokens:
    """Signs with the SigningKey of the client's login; verifies with every published key."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def issue(
        self,
        client: Client,
        session: Session,
        scopes: Collection[str],
        *,
        sid: str,
        now: float,
        access_token: bytes = b"",
        nonce: str = "",
    ) -> str:
        """The ID token of a login; raises OAuthError while no key signs.

        `scopes` are consented scopes of OpenID Connect, and `sid` is that of the browser's session.
        """
        issuer = self._registry.require_issuer()
        key = self._signing_key(client, now)
        claims: dict[str, Any] = {"sub": session.subject, "aud": client.client_id, "sid": sid}
        optional = (
            ("nonce", nonce),
            ("auth_time", session.auth_time),
            ("acr", session.acr),
            ("amr", session.amr),
        )
        claims |= {name: value for name, value in optional if value}
        if access_token:
            claims["at_hash"] = at_hash(access_token, key.alg)
        claims = claims_of(session, scopes) | claims
        return sign_id_token(claims, key, issuer, now, verifier_lag(issuer))

    def verify_hint(self, hint: str, now: float) -> IdTokenHint | None:
        """The content of an `id_token_hint`; None unless this issuer signed it and its key is published. It may have
        expired.
        """
        issuer = self._registry.issuer
        return read_hint(hint, self._registry.keys.jwks(now), issuer) if issuer else None

    def _signing_key(self, client: Client, now: float) -> LoadedKey:
        issuer = self._registry.require_issuer()
        name = client.login.id_token_signing_key if client.login else ""
        key = self._registry.keys.signing_key(name, now, issuer)
        if key is None or not allows(issuer.profile, key.alg):
            raise unavailable("no signing key for ID tokens is active", reason="no_id_token_key", retry_after=5.0)
        return key
