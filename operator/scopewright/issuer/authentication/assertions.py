"""private_key_jwt: the assertion that a client signs with its own key (RFC 7523 §3, RFC 8725). Pure checks."""

from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.core.profile import allows, assertion_seconds
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.entries import Client, ClientKey
from scopewright.issuer.state.recognised import Holds
from scopewright.verifier.jws import Signed, is_numeric_date

MAX_JTI_LENGTH: Final = 256
ASSERTION_TYPES: Final = ("jwt", "client-authentication+jwt")


class CredentialRefused(Exception):
    """`reason` is for the audit line. `advice` is for the caller: set only where its signature or token is valid, or
    where the assertion is malformed, so that no other caller learns what is wrong.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(slots=True)
class VerifiedAssertion:
    """A valid assertion: the SHA-256 of its credential and, if it is single-use, its `jti` and the end of its life.

    If it may be used again, it is valid from `since` to `until` (seconds since the epoch), as long as `holds`.
    """

    digest: bytes = field(repr=False)
    jti: str = field(default="", repr=False)
    expires_at: float = 0.0
    since: float = 0.0
    until: float = 0.0
    holds: Holds | None = None


def check_client_assertion(client: Client, signed: Signed, issuer: IssuerRecord, now: float) -> VerifiedAssertion:
    """Raises `CredentialRefused`. The key and its algorithm are those of the record, never of the assertion."""
    key = _key(client, signed, issuer, now)
    claims = signed.claims
    if "crit" in signed.header or "b64" in signed.header:
        raise CredentialRefused("assertion_extension", "the header of the assertion must not have crit or b64")
    if str(signed.header.get("typ", ASSERTION_TYPES[0])).lower() not in ASSERTION_TYPES:
        raise CredentialRefused("assertion_type", "typ of the assertion must be JWT or client-authentication+jwt")
    if claims.get("iss") != client.client_id or claims.get("sub") != client.client_id:
        raise CredentialRefused("assertion_client", "iss and sub of the assertion must both be the client_id")
    if claims.get("aud") != issuer.issuer and (issuer.is_fapi2 or claims.get("aud") != [issuer.issuer]):
        raise CredentialRefused("assertion_audience", "aud of the assertion must be the issuer, as a single string")
    clock_skew = float(issuer.clock_skew)
    expires_at = check_times(claims, clock_skew, now, assertion_seconds(issuer.profile))
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
        raise CredentialRefused("assertion_jti", f"jti of the assertion must have 1 to {MAX_JTI_LENGTH} characters")
    return VerifiedAssertion(key.digest, jti, expires_at + clock_skew)


def check_times(claims: dict[str, Any], clock_skew: float, now: float, max_seconds: float) -> float:
    """`exp`, in seconds since the epoch; raises `CredentialRefused`. `exp` may be up to `max_seconds` ahead."""
    expires_at = _numeric_date(claims, "exp")
    if expires_at is None or now >= expires_at + clock_skew:
        raise CredentialRefused(
            "assertion_expired", "the assertion has expired or has no exp; make a new one for each request"
        )
    if expires_at > now + max_seconds + clock_skew:
        raise CredentialRefused("assertion_life", f"exp of the assertion must be at most {max_seconds:.0f} s ahead")
    for name in ("iat", "nbf"):
        starts_at = _numeric_date(claims, name)
        if starts_at is not None and starts_at > now + clock_skew:
            raise CredentialRefused("assertion_early", f"{name} of the assertion is in the future; check the clock")
    return expires_at


def _numeric_date(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2); None if absent."""
    if name not in claims:
        return None
    value = claims[name]
    if not is_numeric_date(value):
        raise CredentialRefused("assertion_malformed", f"{name} of the assertion must be a number of seconds")
    return float(value)


def _key(client: Client, signed: Signed, issuer: IssuerRecord, now: float) -> ClientKey:
    """The registered key that signed. `jku`, `x5u`, `jwk` and `x5c` are not read.

    At most one signature is verified: any caller may send an assertion, and the client's owner chooses its keys.
    """
    header = signed.header
    if not allows(issuer.profile, header.get("alg")):
        raise CredentialRefused("assertion_algorithm")
    candidates = [key for key in client.keys if now < key.end and _matches(key, header)]
    if len(candidates) > 1 and "kid" not in header:
        raise CredentialRefused("assertion_without_kid")
    for key in candidates[:1]:
        if key.verifies(signed.signing_input, signed.signature):
            return key
    raise CredentialRefused("assertion_signature")


def _matches(key: ClientKey, header: dict[str, Any]) -> bool:
    return header.get("kid", key.kid) == key.kid and header.get("alg") in key.algorithms
