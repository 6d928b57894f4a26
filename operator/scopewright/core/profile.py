"""Security profiles: which algorithms, client authentication methods and lifetimes an installation allows.

`FAPI2` is the FAPI 2.0 Security Profile (Final): §5.3.2.1 (sender-constrained tokens, private_key_jwt, the audience of
client assertions, clocks), §5.3.2.2 (pushed authorization requests, PKCE) and §5.4 (algorithms and key sizes).
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Final, Literal

from scopewright import base64url

Profile = Literal["Default", "FAPI2"]

FAPI2_ALGORITHMS: Final = ("ES256", "PS256", "EdDSA", "Ed25519")
"""FAPI 2.0 §5.4.1; Ed25519 is the newer name of EdDSA with that curve (RFC 9864)."""
FAPI2_CLOCK_SKEW: Final = (timedelta(seconds=10), timedelta(seconds=60))
"""`iat` and `nbf` up to 10 s in the future must be accepted, beyond 60 s refused (§5.3.2.1)."""
FAPI2_MAX_TOKEN_LIFETIME: Final = timedelta(hours=1)
FAPI2_ASSERTION_SECONDS: Final = 300.0
"""Longest time until `exp` of a client assertion. Scopewright's choice: the profile gives no figure."""
ASSERTION_SECONDS: Final = 3600.0

MIN_RSA_BITS: Final = 2048
MAX_RSA_BITS: Final = 4096
RSA_EXPONENT: Final = 65537


def allows(profile: Profile, algorithm: object) -> bool:
    """Whether the profile allows signatures with this JOSE algorithm."""
    return profile != "FAPI2" or algorithm in FAPI2_ALGORITHMS


def allows_method(profile: Profile, method: str) -> bool:
    """Whether the profile allows this `spec.authentication.method`: FAPI 2.0 §5.3.2.1 allows no client secrets, no
    bearer assertions of a third party and no public clients.
    """
    return profile != "FAPI2" or method == "PrivateKeyJWT"


def assertion_seconds(profile: Profile) -> float:
    """Return the longest time until `exp` of a client assertion, in seconds."""
    return FAPI2_ASSERTION_SECONDS if profile == "FAPI2" else ASSERTION_SECONDS


def ignored_reason(jwk: Mapping[str, str], profile: Profile = "Default") -> str | None:
    """Return why the issuer ignores this public key of a client, and what to do; None if it accepts the key.

    The size of RSA keys is limited, because any caller can make the issuer verify a signature with them.
    """
    if jwk.get("kty") == "RSA" and (wrong := _wrong_rsa(jwk)):
        return wrong
    if profile == "FAPI2" and not allows(profile, jwk.get("alg") or _default_algorithm(jwk)):
        return "the platform's profile FAPI2 allows only ES256, PS256 and EdDSA; use such a key, with alg PS256 for RSA"
    return None


def _wrong_rsa(jwk: Mapping[str, str]) -> str | None:
    try:
        n, e = (int.from_bytes(base64url.decode(jwk[member])) for member in ("n", "e"))
    except (KeyError, ValueError):
        return "it is not an RSA key; n and e must be base64url"
    if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS:
        return f"an RSA key must have {MIN_RSA_BITS} to {MAX_RSA_BITS} bits; generate another key, or an EC key"
    if e != RSA_EXPONENT:
        return "an RSA key must have the exponent 65537 (e: AQAB); generate another key, or an EC key"
    return None


def _default_algorithm(jwk: Mapping[str, str]) -> str:
    """Return the algorithm of a key without `alg`."""
    by_curve = {"P-256": "ES256", "P-384": "ES384", "Ed25519": "EdDSA"}
    return by_curve.get(jwk.get("crv", ""), "RS256")
