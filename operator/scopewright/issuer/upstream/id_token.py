"""ID tokens of a provider (OpenID Connect Core §3.1.3.7, RFC 8725). Pure checks."""

import hmac
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.issuer.protocol.at_hash import at_hash
from scopewright.issuer.upstream.login import LoginRefused
from scopewright.verifier import jws
from scopewright.verifier.jws import Signed, is_numeric_date
from scopewright.verifier.keyset import Key
from scopewright.verifier.refusals import TokenRejected

MAX_ID_TOKEN: Final = 128 * 1024
"""Characters: 200 groups of 256 characters fit."""
CLOCK_SKEW: Final = 60.0
"""Seconds by which the provider's clock may differ."""
MAX_SUBJECT: Final = 255
"""Characters of `sub` (§2)."""

_TYPES: Final = ("jwt", "application/jwt")
"""Of `typ`, in lower case. Access tokens (`at+jwt`) and logout tokens (`logout+jwt`) have others."""


@dataclass(frozen=True, slots=True)
class IdTokenRules:
    """What the claims of an ID token must satisfy. Times are seconds since the epoch."""

    issuer: str
    client_id: str
    now: float
    nonce: str | None = None
    """None: of a refresh, which has no nonce (§12.2)."""
    access_token: str = field(default="", repr=False)
    authenticated_since: float | None = None
    """If set, the user must have logged in at this time or later, minus the skew."""
    is_auth_time_required: bool = False


def parse_id_token(token: object, algorithms: tuple[str, ...]) -> Signed:
    """Return an ID token with a header that is acceptable; its signature is not verified. Raises `LoginRefused`."""
    try:
        signed = jws.parse(token if isinstance(token, str) else "", MAX_ID_TOKEN)
    except TokenRejected:
        raise _refused(f"must be a signed token (JWS) of at most {MAX_ID_TOKEN >> 10} KiB") from None
    header = signed.header
    if "crit" in header or "b64" in header:
        raise _refused("must have neither crit nor b64 in its header")
    if str(header.get("typ", _TYPES[0])).lower() not in _TYPES:
        raise _refused("has the typ of another kind of token")
    if header.get("alg") not in algorithms:
        raise _refused(f"has an algorithm that signingAlgorithms does not accept: {ascii(header.get('alg'))[:40]}")
    if "kid" in header and (not isinstance(header["kid"], str) or not header["kid"]):
        raise _refused("must have a text as kid in its header, or none")
    return signed


def verify_id_token(signed: Signed, key: Key | None, rules: IdTokenRules) -> dict[str, Any]:
    """Return the claims. Raises `LoginRefused`. `key` is the provider's key for the token, if any.

    The key decides about the algorithm, and only keys for asymmetric ones are parsed: `none` verifies nothing, nor does
    HS256 with a public key as its secret.
    """
    algorithm = signed.header["alg"]
    if key is None or algorithm not in key.algorithms:
        raise _refused("is signed with a key that the provider does not publish")
    if not key.verifies(signed.signing_input, signed.signature):
        raise _refused("has a wrong signature")
    claims = signed.claims
    if claims.get("iss") != rules.issuer:
        raise _refused("has another iss than the provider's issuer")
    _check_audience(claims, rules.client_id)
    _check_times(claims, rules)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise _refused(f"must have a sub of 1 to {MAX_SUBJECT} characters")
    if rules.nonce is not None and not _equal(claims.get("nonce"), rules.nonce):
        raise _refused("has another nonce than the request")
    if "at_hash" in claims and not _equal(claims["at_hash"], at_hash(rules.access_token.encode(), algorithm)):
        raise _refused("is not of the access token beside it: at_hash differs")
    return claims


def _check_audience(claims: dict[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise _refused("is for another client: aud does not have the client ID")
    if ("azp" in claims or len(audiences) > 1) and claims.get("azp") != client_id:
        raise _refused("was issued to another client: azp is not the client ID")


def _check_times(claims: dict[str, Any], rules: IdTokenRules) -> None:
    expires = _time(claims, "exp")
    if expires is None or rules.now >= expires + CLOCK_SKEW:
        raise _refused("has expired, or has no exp")
    if _time(claims, "iat") is None:
        raise _refused("has no iat")
    for name in ("iat", "nbf", "auth_time"):
        if (_time(claims, name) or 0) > rules.now + CLOCK_SKEW:
            raise _refused(f"is from the future: {name}; check the clocks")
    auth_time = _time(claims, "auth_time")
    if auth_time is None and rules.is_auth_time_required:
        raise LoginRefused(
            "login_too_old",
            "the ID token has no auth_time, so it does not show when the user logged in; let the provider send it, or "
            "set reauthentication: Trusted",
        )
    since = rules.authenticated_since
    if auth_time is not None and since is not None and auth_time < since - CLOCK_SKEW:
        raise LoginRefused("login_too_old", "the user's login at the provider is older than the request allows")


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate; None if absent."""
    value = claims.get(name)
    if value is None:
        return None
    if not is_numeric_date(value):
        raise _refused(f"must have a number of seconds as {name}")
    return float(value)


def _equal(claim: object, expected: str) -> bool:
    """In constant time."""
    return isinstance(claim, str) and hmac.compare_digest(claim.encode(), expected.encode())


def _refused(what: str) -> LoginRefused:
    return LoginRefused("id_token", f"the ID token {what}")
