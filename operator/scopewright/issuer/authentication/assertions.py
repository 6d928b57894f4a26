"""private_key_jwt: the assertion that a client signs with its own key (RFC 7523 §3, RFC 8725). Pure checks."""

from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.core.profile import allows, assertion_seconds
from scopewright.core.records import IssuerRecord
from scopewright.issuer.state.entries import Client, ClientKey
from scopewright.verifier.jws import Signed

MAX_JTI_LENGTH: Final = 256
ASSERTION_TYPES: Final = ("jwt", "client-authentication+jwt")
_LATEST: Final = 2.0**53


class CredentialRefused(Exception):
    """`reason` is for the audit line; `advice` for a caller who has proved to hold the key, or whose words are no JWT
    at all: nobody else learns what was wrong.
    """

    def __init__(self, reason: str, advice: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(slots=True)
class AuthenticationProof:
    """A good assertion: the SHA-256 of what proved it, and what may be used only once until when, if anything."""

    digest: bytes = field(repr=False)
    once: str = field(default="", repr=False)
    until: float = 0.0


def check(client: Client, signed: Signed, issuer: IssuerRecord, now: float) -> AuthenticationProof:
    """The proof, or `CredentialRefused`. The key and its algorithm are the record's, never the assertion's own."""
    key = _key(client, signed, issuer, now)
    claims = signed.claims
    if "crit" in signed.header or "b64" in signed.header:
        raise CredentialRefused(
            "assertion_extension", "the assertion's header has an extension that is not understood here"
        )
    if str(signed.header.get("typ", ASSERTION_TYPES[0])).lower() not in ASSERTION_TYPES:
        raise CredentialRefused("assertion_type", "typ of the assertion must be JWT or client-authentication+jwt")
    if claims.get("iss") != client.client_id or claims.get("sub") != client.client_id:
        raise CredentialRefused("assertion_client", "iss and sub of the assertion must both be the client_id")
    if claims.get("aud") != issuer.issuer and (issuer.profile == "FAPI2" or claims.get("aud") != [issuer.issuer]):
        raise CredentialRefused(
            "assertion_audience", "aud of the assertion must be the issuer, as a string and nothing beside it"
        )
    skew = float(issuer.clock_skew)
    expires = check_times(claims, skew, now, assertion_seconds(issuer.profile))
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= MAX_JTI_LENGTH:
        raise CredentialRefused(
            "assertion_jti", f"the assertion needs a jti of its own, at most {MAX_JTI_LENGTH} characters"
        )
    return AuthenticationProof(key.digest, jti, expires + skew)


def check_times(claims: dict[str, Any], skew: float, now: float, longest: float) -> float:
    """`exp`; or `CredentialRefused`."""
    expires = _instant(claims, "exp")
    if expires is None or now >= expires + skew:
        raise CredentialRefused(
            "assertion_expired", "the assertion has expired, or has no exp: make a new one for each request"
        )
    if expires > now + longest + skew:
        raise CredentialRefused("assertion_life", f"exp of the assertion is too far away: at most {longest:.0f} s")
    for name in ("iat", "nbf"):
        begins = _instant(claims, name)
        if begins is not None and begins > now + skew:
            raise CredentialRefused("assertion_early", f"{name} of the assertion lies ahead: check the clock")
    return expires


def _instant(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2), or None where it is absent."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise CredentialRefused("assertion_malformed", f"{name} of the assertion must be a number of seconds")
    return float(value)


def _key(client: Client, signed: Signed, issuer: IssuerRecord, now: float) -> ClientKey:
    """The registered key that has signed. `jku`, `x5u`, `jwk` and `x5c` are not read.

    At most one signature is verified: anybody may send an assertion, and the client's owner chooses its keys.
    """
    header = signed.header
    if not allows(issuer.profile, header.get("alg")):
        raise CredentialRefused("assertion_algorithm")
    fitting = [key for key in client.keys if now < key.end and _fits(key, header)]
    if len(fitting) > 1 and "kid" not in header:
        raise CredentialRefused("assertion_without_kid")
    for key in fitting[:1]:
        if key.public is not None and key.public.verifies(signed.signing_input, signed.signature):
            return key
    raise CredentialRefused("assertion_signature")


def _fits(key: ClientKey, header: dict[str, Any]) -> bool:
    if header.get("kid", key.kid) != key.kid:
        return False
    return key.public is not None and header.get("alg") in key.public.algorithms
