"""Signs an access token (RFC 9068) for an Authorisation."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from scopewright import base64url
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.entries import GrantedScopes, ResourceServerEntry
from scopewright.issuer.state.keyring import verifier_lag
from scopewright.issuer.state.keys import LoadedKey
from scopewright.issuer.state.repeated import ClaimsTemplate
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
    issued_at, granted = int(now), authorisation.granted
    expires_at = int(min(issued_at + lifetime(authorisation.server, issuer), last_expiry(granted, key, issuer)))
    grant_id = authorisation.user.grant_id if authorisation.user else ""
    jti = new_jti(authorisation.client.uid_hash + grant_id, random)
    bound = b',"cnf":{"jkt":"%b"}' % authorisation.jkt.encode() if authorisation.jkt else b""
    value = sign_claims(_template(authorisation, key, issuer), jti, issued_at, expires_at, bound)
    return IssuedToken(value, jti.decode(), key.kid, expires_at - issued_at)


def new_jti(prefix: str, random: Randomness) -> bytes:
    return prefix.encode() + base64url.encode_bytes(random(_JTI_BYTES))


def sign_claims(template: ClaimsTemplate, jti: bytes, issued_at: int, expires_at: int, bound: bytes = b"") -> bytes:
    """The token. `bound` is a further member of its JSON."""
    key = template.key
    if key.sign is None:
        raise ValueError("the key cannot sign")
    end = b'%b,"iat":%d,"exp":%d,"jti":"%b"%b}' % (template.rest, issued_at, expires_at, jti, bound)
    signing_input = b"%b.%b%b" % (key.header, template.encoded, base64url.encode_bytes(end))
    return b"%b.%b" % (signing_input, base64url.encode_bytes(key.sign(signing_input)))


def lifetime(server: ResourceServerEntry, issuer: IssuerRecord) -> int:
    """Of a token in seconds, if neither its grant nor its key ends earlier."""
    return min(server.record.lifetime, issuer.max_token_lifetime)


def last_expiry(granted: GrantedScopes, key: LoadedKey, issuer: IssuerRecord) -> float:
    """The earlier of: the end of the grant, and the time when a verifier may no longer have the key."""
    return min(granted.not_after, key.verification_end - verifier_lag(issuer))


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
