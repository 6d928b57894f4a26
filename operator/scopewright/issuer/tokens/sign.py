"""Last step: a Grant, and nothing else, becomes an access token (RFC 9068)."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright.core.records import IssuerRecord
from scopewright.issuer.state.entries import ClaimsTemplate
from scopewright.issuer.state.keys import LoadedKey, b64url
from scopewright.issuer.tokens.authorise import Grant
from scopewright.verifier.revoked import CHAIN

Randomness = Callable[[int], bytes]
"""So many random bytes."""

_JTI_BYTES: Final = 16


@dataclass(slots=True)
class IssuedToken:
    value: bytes = field(repr=False)
    jti: str
    kid: str
    expires_in: int


def sign(
    grant: Grant, key: LoadedKey, issuer: IssuerRecord, now: float, random: Randomness = os.urandom
) -> IssuedToken:
    """The token; `key` is one that signs now, and has more than clock skew and JWKS max-age left."""
    issued = int(now)
    expires = _expiry(grant, key, issuer, issued)
    jti = grant.client.uid_hash + b64url(random(_JTI_BYTES)).decode()
    bound = b',"cnf":{"jkt":"%s"}' % grant.jkt.encode() if grant.jkt else b""
    payload = b'%s,"iat":%d,"exp":%d,"jti":"%s"%s}' % (
        _template(grant, key, issuer).claims,
        issued,
        expires,
        jti.encode(),
        bound,
    )
    signing_input = key.header + b"." + b64url(payload)
    if key.sign is None:
        raise ValueError("the key cannot sign")
    return IssuedToken(signing_input + b"." + b64url(key.sign(signing_input)), jti, key.kid, expires - issued)


def _expiry(grant: Grant, key: LoadedKey, issuer: IssuerRecord, issued: int) -> int:
    """The first of: the lifetime, the grant's end, and as long as every verifier still knows the key. Whole seconds."""
    lifetime = min(grant.server.record.lifetime, issuer.max_token_lifetime)
    return int(min(issued + lifetime, grant.given.not_after, key.verification_end - tail(issuer)))


def tail(issuer: IssuerRecord) -> int:
    """How long a key must be known beyond the last token that it signed, in seconds."""
    return issuer.clock_skew + issuer.jwks_max_age


def _template(grant: Grant, key: LoadedKey, issuer: IssuerRecord) -> ClaimsTemplate:
    given = grant.given
    template = given.template
    if template is None or template.key is not key or template.issuer != issuer.issuer:
        template = given.template = ClaimsTemplate(key, issuer.issuer, _claims(grant, issuer))
    return template


def _claims(grant: Grant, issuer: IssuerRecord) -> bytes:
    """Those that do not change with time, left open at the end."""
    delegation, given, record = grant.delegation, grant.given, grant.server.record
    claims: dict[str, Any] = {
        "iss": issuer.issuer,
        "sub": delegation.subject if delegation else grant.client.client_id,
        "aud": record.audience,
        "client_id": grant.client.client_id,
        "scope": given.scope,
    }
    if record.scopes_list_claim:
        claims["scopes"] = given.scopes
    if delegation:
        claims |= {"act": delegation.act, CHAIN: delegation.chain}
    return orjson.dumps(claims)[:-1]
