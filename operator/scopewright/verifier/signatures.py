"""Verifies signatures (RFC 7518 §3, RFC 8037) with what is prepared once for each key.

PyJWT's algorithms verify the same signatures, and are what this module must equal. They choose hash and padding, check
the curve and convert by way of hexadecimal text for each signature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from jwt.algorithms import Algorithm, get_default_algorithms

Verify = Callable[[bytes, bytes], bool]
"""Whether the second argument is the signature of the first, in the form of JOSE."""

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_ECDSA: Final = {f"ES{bits}": ec.ECDSA(digest) for bits, digest in _HASHES.items()}


@dataclass(frozen=True, slots=True)
class PreparedKey:
    """`key` is an object of the library `cryptography`. With P-256 it takes 1 KB before its first
    use, as much as its JWK."""

    key: Any
    verifies: Verify


def prepare(jwk: Mapping[str, Any], algorithm: str) -> PreparedKey:
    """Raises an exception of PyJWT, TypeError or ValueError if it is not a public key of the algorithm."""
    key = _algorithms()[algorithm].from_jwk(dict(jwk))
    return PreparedKey(key, verify_with(key, algorithm))


def verify_with(public: Any, algorithm: str) -> Verify:
    """`public` must be a key of the algorithm."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return partial(_verify_ecdsa, public, _ECDSA[algorithm], (public.curve.key_size + 7) // 8)
    if isinstance(public, rsa.RSAPublicKey):
        digest = _HASHES[algorithm[2:]]
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        return partial(_verify_rsa, public, pss if algorithm.startswith("PS") else padding.PKCS1v15(), digest)
    if isinstance(public, ed25519.Ed25519PublicKey):
        return partial(_verify_eddsa, public)
    raise TypeError("not a public key of a supported kind")


def _verify_ecdsa(
    public: ec.EllipticCurvePublicKey, scheme: ec.ECDSA, size: int, data: bytes, signature: bytes
) -> bool:
    """JOSE has r ‖ s (RFC 7518 §3.4), of `size` bytes each; the library takes DER."""
    if len(signature) != 2 * size:
        return False
    r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
    try:
        public.verify(encode_dss_signature(r, s), data, scheme)
    except InvalidSignature:
        return False
    return True


def _verify_rsa(
    public: rsa.RSAPublicKey,
    scheme: padding.AsymmetricPadding,
    digest: hashes.HashAlgorithm,
    data: bytes,
    signature: bytes,
) -> bool:
    try:
        public.verify(signature, data, scheme, digest)
    except InvalidSignature:
        return False
    return True


def _verify_eddsa(public: ed25519.Ed25519PublicKey, data: bytes, signature: bytes) -> bool:
    try:
        public.verify(signature, data)
    except InvalidSignature:
        return False
    return True


@cache
def _algorithms() -> Mapping[str, Algorithm]:
    """PyJWT makes all of them for each key otherwise."""
    return get_default_algorithms()
