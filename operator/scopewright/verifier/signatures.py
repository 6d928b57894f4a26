"""Verifies signatures (RFC 7518 §3, RFC 8037) with what is prepared once for each key.

PyJWT's algorithms verify the same signatures, and are what this module must equal. They choose hash and padding, check
the curve and convert by way of hexadecimal text for each signature.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
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


@dataclass(frozen=True, slots=True)
class PreparedKey:
    """`key` is an object of the library `cryptography`."""

    key: Any
    verifies: Verify


def prepare(jwk: Mapping[str, Any], algorithm: str) -> PreparedKey:
    """Raises an exception of PyJWT, TypeError or ValueError if it is not a public key of the algorithm."""
    key = _algorithms()[algorithm].from_jwk(dict(jwk))
    return PreparedKey(key, verify_with(key, algorithm))


def verify_with(public: Any, algorithm: str) -> Verify:
    """`public` must be a key of the algorithm."""
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _ecdsa(public, ec.ECDSA(_HASHES[algorithm[2:]]))
    if isinstance(public, rsa.RSAPublicKey):
        return _rsa(public, algorithm.startswith("PS"), _HASHES[algorithm[2:]])
    if isinstance(public, ed25519.Ed25519PublicKey):
        return _eddsa(public)
    raise TypeError("not a public key of a supported kind")


def _ecdsa(public: ec.EllipticCurvePublicKey, scheme: ec.ECDSA) -> Verify:
    """JOSE has r ‖ s (RFC 7518 §3.4); the library takes DER."""
    size = (public.curve.key_size + 7) // 8

    def verify(data: bytes, signature: bytes) -> bool:
        if len(signature) != 2 * size:
            return False
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        try:
            public.verify(encode_dss_signature(r, s), data, scheme)
        except InvalidSignature:
            return False
        return True

    return verify


def _rsa(public: rsa.RSAPublicKey, pss: bool, digest: hashes.HashAlgorithm) -> Verify:
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if pss else padding.PKCS1v15()

    def verify(data: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, data, scheme, digest)
        except InvalidSignature:
            return False
        return True

    return verify


def _eddsa(public: ed25519.Ed25519PublicKey) -> Verify:
    def verify(data: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return verify


@cache
def _algorithms() -> Mapping[str, Algorithm]:
    """PyJWT makes all of them for each key otherwise."""
    return get_default_algorithms()
