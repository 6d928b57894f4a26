"""Generates client secrets and keys, and checks that a private key belongs to its JWK."""

import json
import secrets
import string
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scopewright import base64url
from scopewright.core.client.authentication import KeyPair
from scopewright.core.signing.view import GeneratedKey
from scopewright.verifier.thumbprint import thumbprint

_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_LENGTH: Final = 43
"""43 characters out of 62 have a little over 256 bits."""
_CURVES: Final[dict[str, tuple[type[ec.EllipticCurve], str]]] = {
    "ES256": (ec.SECP256R1, "P-256"),
    "ES384": (ec.SECP384R1, "P-384"),
}

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def generate_secret() -> str:
    """A client secret: 256 bits of `[A-Za-z0-9]`, because some clients do not form-encode Basic credentials."""
    letters = ""
    while len(letters) < _SECRET_LENGTH:
        # 248 is the last multiple of 62: bytes from there on would make some letters likelier than others.
        letters += "".join(_ALPHABET[byte % 62] for byte in secrets.token_bytes(64) if byte < 248)
    return letters[:_SECRET_LENGTH]


def make_key(algorithm: str) -> GeneratedKey:
    """A key pair for a JWS algorithm. An RSA key of 3072 bits takes some hundred milliseconds."""
    key: PrivateKey
    if algorithm in _CURVES:
        key = ec.generate_private_key(_CURVES[algorithm][0]())
    elif algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    members = public_members(key)
    return GeneratedKey({**members, "kid": thumbprint(members), "alg": algorithm, "use": "sig"}, pem)


def client_pair(generated: GeneratedKey) -> KeyPair:
    """The key pair of a client, with the private JWK of RFC 7518 §6.2.2. `generated` is an ES256 key."""
    key = serialization.load_pem_private_key(generated.pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("a client's key pair is for ES256")
    secret = _int(key.private_numbers().private_value, (key.curve.key_size + 7) // 8)
    return KeyPair(generated.jwk, json.dumps({**generated.jwk, "d": secret}, separators=(",", ":")).encode())


def matches(pem: bytes, jwk: Mapping[str, str]) -> bool:
    """Whether the PEM holds the private key of this JWK, and the JWK's `kid` is its thumbprint."""
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    if not isinstance(key, PrivateKey):
        return False
    members = public_members(key)
    return all(jwk.get(name) == value for name, value in members.items()) and jwk.get("kid") == thumbprint(members)


def public_members(key: PrivateKey) -> dict[str, str]:
    """The members of the public JWK from which the thumbprint is computed (RFC 7638 §3.2, RFC 8037 §2)."""
    public: Any = key.public_key()
    if isinstance(key, ec.EllipticCurvePrivateKey):
        numbers = public.public_numbers()
        curve = next((name for kind, name in _CURVES.values() if isinstance(key.curve, kind)), "")
        size = (key.curve.key_size + 7) // 8
        return {"kty": "EC", "crv": curve, "x": _int(numbers.x, size), "y": _int(numbers.y, size)}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url.encode(raw)}
    numbers = public.public_numbers()
    return {"kty": "RSA", "n": _int(numbers.n), "e": _int(numbers.e)}


def _int(value: int, size: int | None = None) -> str:
    return base64url.encode(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
