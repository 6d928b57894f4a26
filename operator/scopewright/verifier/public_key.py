"""Public keys of JWKs, and the signatures that they verify (RFC 7518 §3 and §6, RFC 8037).

Uses `cryptography` alone. PyJWT could do the same, but its import would take a third of the verifier's.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from scopewright import base64url

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
VerifySignature = Callable[[bytes, bytes], None]
"""Of a signature and the bytes that were signed. Raises InvalidSignature or ValueError."""

_CURVES: Final[Mapping[str, ec.EllipticCurve]] = {
    "P-256": ec.SECP256R1(),
    "P-384": ec.SECP384R1(),
    "P-521": ec.SECP521R1(),
}
_HASHES: Final[Mapping[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}


def parse_public_key(jwk: Mapping[str, Any]) -> PublicKey:
    """Raises KeyError, TypeError or ValueError for a JWK that is not such a key."""
    match jwk["kty"]:
        case "EC":
            curve = _CURVES[jwk["crv"]]
            x, y = (_coordinate(jwk[name], _octets(curve)) for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()  # refuses a point that is not on the curve
        case "RSA":
            return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
        case "OKP" if jwk["crv"] == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(_decoded(jwk["x"]))
        case _:
            raise ValueError("not a key for signatures")


def signature_verifier(key: PublicKey, algorithm: str) -> VerifySignature:
    """For signatures of this JWS algorithm. Raises ValueError if it is not of this kind of key."""
    kind, size = algorithm[:2], algorithm[2:]
    if isinstance(key, ed25519.Ed25519PublicKey) and kind == "Ed":
        return key.verify
    if isinstance(key, ec.EllipticCurvePublicKey) and kind == "ES":
        return _ecdsa(key, ec.ECDSA(_HASHES[size]))
    if isinstance(key, rsa.RSAPublicKey) and kind in ("RS", "PS"):
        return _rsa(key, _HASHES[size], is_pss=kind == "PS")
    raise ValueError(f"{algorithm} is not of this kind of key")


def _ecdsa(key: ec.EllipticCurvePublicKey, scheme: ec.ECDSA) -> VerifySignature:
    size = _octets(key.curve)

    def verify(signature: bytes, signed: bytes) -> None:
        if len(signature) != 2 * size:
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size]), int.from_bytes(signature[size:])
        key.verify(encode_dss_signature(r, s), signed, scheme)

    return verify


def _rsa(key: rsa.RSAPublicKey, digest: hashes.HashAlgorithm, *, is_pss: bool) -> VerifySignature:
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)  # RFC 7518 §3.5
    scheme = pss if is_pss else padding.PKCS1v15()

    def verify(signature: bytes, signed: bytes) -> None:
        key.verify(signature, signed, scheme, digest)

    return verify


def _octets(curve: ec.EllipticCurve) -> int:
    """The length of one coordinate (RFC 7518 §6.2.1.2)."""
    return (curve.key_size + 7) // 8


def _coordinate(text: Any, octets: int) -> int:
    data = _decoded(text)
    if len(data) != octets:
        raise ValueError("a coordinate of another length than the curve's")
    return int.from_bytes(data)


def _number(text: Any) -> int:
    return int.from_bytes(_decoded(text))


def _decoded(text: Any) -> bytes:
    """Padding is tolerated: some issuers write it."""
    if not isinstance(text, str):
        raise TypeError("a member of a JWK is not a string")
    return base64url.decode(text.rstrip("="))
