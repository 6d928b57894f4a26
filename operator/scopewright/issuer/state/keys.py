"""Signing keys: parses a key record and its private PEM once, for signing and verifying (RFC 7515, 7517, 7638)."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scopewright.core.failures import Rejected
from scopewright.core.records.signing_key import KeyRecord
from scopewright.verifier.thumbprint import MEMBERS, thumbprint

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey
Sign = Callable[[bytes], bytes]
"""Signs the signing input; returns the raw JWS signature."""
Verify = Callable[[bytes, bytes], bool]
"""Takes the signing input and the raw JWS signature."""

MIN_RSA_BITS: Final = 2048
_ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "ES256": ("ES256",),
    "ES384": ("ES384",),
    "RS256": ("RS256",),
    "PS256": ("PS256",),
    "Ed25519": ("EdDSA", "Ed25519"),
    "EdDSA": ("EdDSA", "Ed25519"),
}
"""The algorithm of a record, and the possible `alg` of its tokens (RFC 8037, RFC 9864)."""

_CURVES: Final[Mapping[str, tuple[type[ec.EllipticCurve], str, int]]] = {
    "ES256": (ec.SECP256R1, "P-256", 32),
    "ES384": (ec.SECP384R1, "P-384", 48),
}
_SHA256: Final = ec.ECDSA(hashes.SHA256())
_SHA384: Final = ec.ECDSA(hashes.SHA384())
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA256()), hashes.SHA256().digest_size)


@dataclass(slots=True, eq=False)
class LoadedKey:
    """A valid key record. Times are in seconds since the epoch. Without the private key, `sign` is None."""

    kid: str
    alg: str
    signing_key: str
    config_map: str
    public_jwk: dict[str, str]
    header: bytes
    """The encoded JOSE header of its tokens."""
    record: KeyRecord
    start: float
    signing_end: float
    verification_end: float
    sign: Sign | None = field(repr=False)
    verifies: Verify = field(repr=False)
    pem_digest: bytes = field(repr=False)


_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


def b64url(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")


def b64url_decode(encoded: bytes) -> bytes:
    """Accepts only the canonical encoding, so that a token has one spelling; raises ValueError."""
    data = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    if b64url(data) != encoded:
        raise ValueError("not canonical base64url")
    return data


def build(record: KeyRecord, pem: bytes | None, known: LoadedKey | None = None) -> LoadedKey:
    """Raises `Rejected`. `known` is the previous key of the record, so that an unchanged PEM is not parsed again."""
    if thumbprint(record.jwk) != record.kid:
        raise Rejected("MalformedRecord", "kid is not the thumbprint of the key")
    alg = _alg(record)
    digest = hashlib.sha256(pem).digest() if pem and record.revoked_time is None else b""
    if known is not None and known.kid == record.kid and known.alg == alg and known.pem_digest == digest:
        sign, verifies = known.sign, known.verifies
    else:
        public = _public_key(record.algorithm, record.jwk)
        sign = _signer(alg, pem, public) if digest and pem else None
        verifies = _verifier(alg, public)
    return LoadedKey(
        kid=record.kid,
        alg=alg,
        signing_key=record.signing_key,
        config_map=record.config_map,
        public_jwk={
            **{name: record.jwk[name] for name in MEMBERS[record.jwk["kty"]]},
            "kid": record.kid,
            "use": "sig",
            "alg": alg,
        },
        header=b64url(orjson.dumps({"alg": alg, "kid": record.kid, "typ": "at+jwt"})),
        record=record,
        start=seconds(record.signing_start_time),
        signing_end=seconds(record.signing_end_time),
        verification_end=seconds(record.verification_end_time),
        sign=sign,
        verifies=verifies,
        pem_digest=digest,
    )


def seconds(instant: datetime | None) -> float:
    """Seconds since the epoch; infinite for None. Raises `Rejected` without a time zone."""
    if instant is None:
        return float("inf")
    if instant.tzinfo is None:
        raise Rejected("MalformedRecord", "a time has no time zone")
    return instant.timestamp()


def _alg(record: KeyRecord) -> str:
    possible = _ALGORITHMS.get(record.algorithm, ())
    alg = record.jwk.get("alg") or (possible[0] if possible else "")
    if alg not in possible:
        raise Rejected("MalformedRecord", "the algorithm is not supported, or is not the alg of the key")
    return alg


def _public_key(algorithm: str, jwk: Mapping[str, str]) -> PublicKey:
    try:
        if algorithm in _CURVES:
            curve, name, size = _CURVES[algorithm]
            x, y = b64url_decode(jwk["x"].encode()), b64url_decode(jwk["y"].encode())
            if jwk["kty"] == "EC" and jwk["crv"] == name and len(x) == len(y) == size:
                return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve()).public_key()
        elif algorithm in ("RS256", "PS256"):
            n, e = (int.from_bytes(b64url_decode(jwk[member].encode())) for member in ("n", "e"))
            if jwk["kty"] == "RSA" and n.bit_length() >= MIN_RSA_BITS:
                return rsa.RSAPublicNumbers(e, n).public_key()
        elif jwk["kty"] == "OKP" and jwk["crv"] == "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(b64url_decode(jwk["x"].encode()))
    except (ValueError, KeyError, UnsupportedAlgorithm):
        pass
    raise Rejected("MalformedRecord", "the public key does not match its algorithm")


def _signer(alg: str, pem: bytes, public: PublicKey) -> Sign:
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Rejected("MalformedRecord", "the private key cannot be parsed") from None
    if private.public_key() != public:
        raise Rejected("MalformedRecord", "the private key is not that of the record")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return _ecdsa(private, _SHA256 if alg == "ES256" else _SHA384, _CURVES[alg][2])
    if isinstance(private, rsa.RSAPrivateKey):
        return _rsa(private, padding.PKCS1v15() if alg == "RS256" else _PSS)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign
    raise Rejected("MalformedRecord", "the private key does not match its algorithm")


def _ecdsa(private: ec.EllipticCurvePrivateKey, algorithm: ec.ECDSA, size: int) -> Sign:
    """JOSE has r ‖ s (RFC 7518 §3.4); the library returns DER."""

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(private.sign(data, algorithm))
        return r.to_bytes(size) + s.to_bytes(size)

    return sign


def _rsa(private: rsa.RSAPrivateKey, scheme: padding.AsymmetricPadding) -> Sign:
    digest = hashes.SHA256()

    def sign(data: bytes) -> bytes:
        return private.sign(data, scheme, digest)

    return sign


def _verifier(alg: str, public: PublicKey) -> Verify:
    def verifies(data: bytes, signature: bytes) -> bool:
        try:
            if isinstance(public, ec.EllipticCurvePublicKey):
                public.verify(_der(signature, _CURVES[alg][2]), data, _SHA256 if alg == "ES256" else _SHA384)
            elif isinstance(public, rsa.RSAPublicKey):
                public.verify(signature, data, padding.PKCS1v15() if alg == "RS256" else _PSS, hashes.SHA256())
            else:
                public.verify(signature, data)
        except InvalidSignature:
            return False
        return True

    return verifies


def _der(signature: bytes, size: int) -> bytes:
    if len(signature) != 2 * size:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
