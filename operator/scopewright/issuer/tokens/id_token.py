"""ID tokens (OpenID Connect Core §2): signs them, and verifies those that come back as hints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from scopewright import base64url
from scopewright.core.profile import allows
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.keyring import Jwks
from scopewright.issuer.state.keys import LoadedKey

LIFETIME_SECONDS: Final = 600
_MAX_HINT_CHARACTERS: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class IdTokenHint:
    """An ID token of this issuer, expired or not: its client, its user and its session."""

    client_id: str
    subject: str
    sid: str


def sign_id_token(
    claims: Mapping[str, Any], key: LoadedKey, issuer: IssuerRecord, now: float, verifier_lag: int
) -> str:
    """`claims` are those of the user and the request, with `sub` and `aud`; `iss`, `iat` and `exp` are added.

    `key` must sign now. The token ends before a client may no longer have the key.
    """
    if key.sign is None:
        raise ValueError("the key cannot sign")
    issued_at = int(now)
    expires_at = int(min(issued_at + LIFETIME_SECONDS, key.verification_end - verifier_lag))
    payload = {"iss": issuer.issuer, **claims, "iat": issued_at, "exp": expires_at}
    signing_input = _header(key) + b"." + base64url.encode_bytes(orjson.dumps(payload))
    return (signing_input + b"." + base64url.encode_bytes(key.sign(signing_input))).decode()


def read_hint(hint: str, jwks: Jwks, issuer: IssuerRecord) -> IdTokenHint | None:
    """The content of an ID token that this issuer signed with a key that is still published; None for all else.

    Its end is not checked: a client sends the token of a login that may be hours old. The header is compared and not
    parsed, so that no access token and no token of another algorithm is accepted. Nor is one of an algorithm that the
    profile forbids (FAPI 2.0 §5.4.1), whose key is still published.
    """
    if len(hint) > _MAX_HINT_CHARACTERS:
        return None
    try:
        signing_input, _, signature = hint.rpartition(".")
        header, _, payload = signing_input.partition(".")
        signed = signing_input.encode("ascii")
        allowed = (k for k in jwks.keys.values() if allows(issuer.profile, k.alg))
        key = next((k for k in allowed if _header(k) == header.encode("ascii")), None)
        if key is None or not key.verification_key.verifies(signed, base64url.decode_canonical(signature)):
            return None
        claims = orjson.loads(base64url.decode_canonical(payload))
        client_id, subject, sid = claims["aud"], claims["sub"], claims["sid"]
    except (ValueError, KeyError, TypeError):
        return None
    if claims["iss"] != issuer.issuer or not all(isinstance(value, str) for value in (client_id, subject, sid)):
        return None
    return IdTokenHint(client_id, subject, sid)


def _header(key: LoadedKey) -> bytes:
    return base64url.encode_bytes(orjson.dumps({"alg": key.alg, "kid": key.kid, "typ": "JWT"}))
