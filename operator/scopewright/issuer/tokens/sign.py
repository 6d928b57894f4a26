"""Signs an access token (RFC 9068) for an Authorisation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright import base64url
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.entries import ClaimsTemplate
from scopewright.issuer.state.keyring import verifier_lag
from scopewright.issuer.state.keys import LoadedKey
from scopewright.issuer.tokens.authorise import Authorisation
from scopewright.verifier.revoked import CHAIN

Randomness = Callable[[int], bytes]
"""Returns that number of random bytes."""

_JTI_BYTES: Final = 16


@dataclass(slots=True)
class IssuedToken:
    value: bytes = field(repr=False)
    jti: str
    kid: str
    expires_in: int


def sign(
    authorisation: Authorisation, key: LoadedKey, issuer: IssuerRecord, now: float, random: Randomness
) -> IssuedToken:
    """`key` must sign now, and have more than clock skew and JWKS max-age left."""
    issued_at = int(now)
    expires_at = _expiry(authorisation, key, issuer, issued_at)
    grant_id = authorisation.user.grant_id if authorisation.user else ""
    jti = authorisation.client.uid_hash + grant_id + base64url.encode(random(_JTI_BYTES))
    bound = b',"cnf":{"jkt":"%s"}' % authorisation.jkt.encode() if authorisation.jkt else b""
    payload = b'%s,"iat":%d,"exp":%d,"jti":"%s"%s}' % (
        _template(authorisation, key, issuer).claims,
        issued_at,
        expires_at,
        jti.encode(),
        bound,
    )
    signing_input = key.header + b"." + base64url.encode_bytes(payload)
    if key.sign is None:
        raise ValueError("the key cannot sign")
    value = signing_input + b"." + base64url.encode_bytes(key.sign(signing_input))
    return IssuedToken(value, jti, key.kid, expires_at - issued_at)


def _expiry(authorisation: Authorisation, key: LoadedKey, issuer: IssuerRecord, issued_at: int) -> int:
    """The earliest of: the lifetime, the end of the grant, and the time when a verifier may no longer have the key."""
    lifetime = min(authorisation.server.record.lifetime, issuer.max_token_lifetime)
    return int(min(issued_at + lifetime, authorisation.granted.not_after, key.verification_end - verifier_lag(issuer)))


def _template(authorisation: Authorisation, key: LoadedKey, issuer: IssuerRecord) -> ClaimsTemplate:
    granted = authorisation.granted
    template = granted.template
    if template is None or template.key is not key or template.issuer != issuer.issuer:
        template = granted.template = ClaimsTemplate(key, issuer.issuer, _claims(authorisation, issuer))
    return template


def _claims(authorisation: Authorisation, issuer: IssuerRecord) -> bytes:
    """The claims that do not depend on the time, as JSON without the closing brace."""
    delegation, granted, record = authorisation.delegation, authorisation.granted, authorisation.server.record
    user = authorisation.user
    claims: dict[str, Any] = {
        "iss": issuer.issuer,
        "sub": user.subject if user else delegation.subject if delegation else authorisation.client.client_id,
        "aud": record.audience,
        "client_id": authorisation.client.client_id,
        "scope": granted.scope,
    }
    if record.scopes_list_claim:
        claims["scopes"] = granted.scopes
    if granted.roles:
        claims["roles"] = granted.roles
    if user:
        optional = (("auth_time", user.auth_time), ("acr", user.acr), ("amr", user.amr))
        claims |= {"sid": user.sid} | {name: value for name, value in optional if value}
    if delegation:
        claims |= {"act": delegation.act, CHAIN: delegation.chain}
    return orjson.dumps(claims)[:-1]
