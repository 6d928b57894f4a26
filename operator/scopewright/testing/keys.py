"""Signing keys of a fake issuer: generated in memory, never written."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from scopewright import base64url
from scopewright.verifier.check import ALGORITHMS
from scopewright.verifier.thumbprint import MEMBERS, thumbprint

_CURVES: Final[Mapping[str, Callable[[], ec.EllipticCurve]]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_RSA_BITS: Final = 2048


@dataclass(frozen=True, slots=True)
class FakeSigningKey:
    """A key pair. `jwk` is the public key, as in the JWKS; its `kid` is the thumbprint (RFC 7638)."""

    algorithm: str
    jwk: Mapping[str, str]
    _private: Any = field(repr=False)
    _jws: jwt.algorithms.Algorithm = field(repr=False)

    @classmethod
    def generate(cls, algorithm: str) -> Self:
        """Raises ValueError for an algorithm that the verifier does not accept."""
        if algorithm not in ALGORITHMS:
            raise ValueError(f"algorithm must be one of {', '.join(sorted(ALGORITHMS))}, not {algorithm!r}")
        private = _private_key(algorithm)
        # PyJWT knows Ed25519 by its older name only (RFC 9864 §2.2).
        jws = jwt.get_algorithm_by_name("EdDSA" if algorithm == "Ed25519" else algorithm)
        public: Mapping[str, str] = type(jws).to_jwk(private.public_key(), as_dict=True)
        members = {name: public[name] for name in ("kty", *MEMBERS[public["kty"]])}
        return cls(algorithm, {**members, "kid": thumbprint(members), "alg": algorithm, "use": "sig"}, private, jws)

    @property
    def kid(self) -> str:
        return self.jwk["kid"]

    def token(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """A signed JWT. `header` is added to `alg`, `kid` and `typ`; the key signs, whatever `alg` it names."""
        head = {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt", **header}
        signing_input = f"{_encoded(head)}.{_encoded(claims)}"
        return f"{signing_input}.{base64url.encode(self._jws.sign(signing_input.encode(), self._private))}"


def _private_key(algorithm: str) -> Any:
    if algorithm in _CURVES:
        return ec.generate_private_key(_CURVES[algorithm]())
    if algorithm in ("EdDSA", "Ed25519"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)


def _encoded(part: Mapping[str, Any]) -> str:
    """As JSON without the members that are None."""
    present = {name: value for name, value in part.items() if value is not None}
    return base64url.encode(json.dumps(present, separators=(",", ":")).encode())
