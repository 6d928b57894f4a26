"""Signing keys: parses a key record and its private PEM once, for signing and verifying (RFC 7515, 7517, 7638)."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from scopewright import base64url
from scopewright.core.failures import Rejected
from scopewright.core.records.signing_key import KeyRecord
from scopewright.verifier.keyset import Key, KeySet
from scopewright.verifier.thumbprint import MEMBERS, thumbprint

Sign = Callable[[bytes], bytes]
"""Signs the signing input; returns the raw JWS signature."""

_ALGORITHMS: Final[Mapping[str, tuple[str, ...]]] = {
    "ES256": ("ES256",),
    "ES384": ("ES384",),
    "RS256": ("RS256",),
    "PS256": ("PS256",),
    "Ed25519": ("EdDSA", "Ed25519"),
    "EdDSA": ("EdDSA", "Ed25519"),
}
"""The algorithm of a record, and the possible `alg` of its tokens (RFC 8037, RFC 9864)."""

_ENCODED_MEMBERS: Final = frozenset(("x", "y", "n", "e"))
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
    header: bytes
    """The encoded JOSE header of its tokens."""
    record: KeyRecord
    start: float
    signing_end: float
    verification_end: float
    sign: Sign | None = field(repr=False)
    verification_key: Key
    """Its `jwk` is the element of the JWKS."""
    pem_digest: bytes = field(repr=False)


def load_key(record: KeyRecord, pem: bytes | None, known: LoadedKey | None = None) -> LoadedKey:
    """Raises `Rejected`. `known` is the previous key of the record, so that an unchanged PEM is not parsed again."""
    if not record.kid or thumbprint(record.jwk) != record.kid:
        raise Rejected("MalformedRecord", "kid is not the thumbprint of the key")
    alg = _alg(record)
    digest = hashlib.sha256(pem).digest() if pem and record.revoked_time is None else b""
    if known is not None and known.kid == record.kid and known.alg == alg and known.pem_digest == digest:
        sign, verification_key = known.sign, known.verification_key
    else:
        members = {name: record.jwk[name] for name in MEMBERS[record.jwk["kty"]]}
        verification_key = _verification_key({**members, "kid": record.kid, "use": "sig", "alg": alg})
        sign = _signer(alg, pem, verification_key) if digest and pem else None
    return LoadedKey(
        kid=record.kid,
        alg=alg,
        signing_key=record.signing_key,
        config_map=record.config_map,
        header=base64url.encode_bytes(orjson.dumps({"alg": alg, "kid": record.kid, "typ": "at+jwt"})),
        record=record,
        start=seconds(record.signing_start_time),
        signing_end=seconds(record.signing_end_time),
        verification_end=seconds(record.verification_end_time),
        sign=sign,
        verification_key=verification_key,
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


def _verification_key(jwk: Mapping[str, str]) -> Key:
    """Stricter than `KeySet.parse`: members must be canonical base64url, because the JWKS repeats them."""
    try:
        for name in _ENCODED_MEMBERS & jwk.keys():
            base64url.decode_canonical(jwk[name])
        key = KeySet.parse({"keys": [jwk]}).get(jwk["kid"])
    except ValueError:
        key = None
    if key is None:
        raise Rejected("MalformedRecord", "the public key does not match its algorithm")
    return key


def _signer(alg: str, pem: bytes, verification_key: Key) -> Sign:
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Rejected("MalformedRecord", "the private key cannot be parsed") from None
    if private.public_key() != verification_key.public_key:
        raise Rejected("MalformedRecord", "the private key is not that of the record")
    if isinstance(private, ec.EllipticCurvePrivateKey):
        return _ecdsa(private, _SHA256 if alg == "ES256" else _SHA384, private.key_size // 8)
    if isinstance(private, rsa.RSAPrivateKey):
        return _rsa(private, padding.PKCS1v15() if alg == "RS256" else _PSS)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        return private.sign
    raise Rejected("MalformedRecord", "the private key does not match its algorithm")


def _ecdsa(private: ec.EllipticCurvePrivateKey, algorithm: ec.ECDSA, size: int) -> Sign:
    """JOSE has r ‖ s (RFC 7518 §3.4); the library returns DER."""

    def sign(data: bytes) -> bytes:
        return raw_signature(private.sign(data, algorithm), size)

    return sign


def raw_signature(der: bytes, size: int) -> bytes:
    """r ‖ s, of `size` bytes each, from the DER that the library has just made: a third of the time of a parser.

    DER is 0x30, length, 0x02, length of r, r, 0x02, length of s, s. Numbers have no leading zeros, or one that keeps
    them positive. Lengths take one byte, because at most 106 bytes follow with the curves that are supported.
    """
    end = 4 + der[3]
    return der[4:end][-size:].rjust(size, b"\0") + der[end + 2 :][-size:].rjust(size, b"\0")


def _rsa(private: rsa.RSAPrivateKey, scheme: padding.AsymmetricPadding) -> Sign:
    digest = hashes.SHA256()

    def sign(data: bytes) -> bytes:
        return private.sign(data, scheme, digest)

    return sign
