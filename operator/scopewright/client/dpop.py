"""Makes DPoP proofs, and keeps the nonces for them (RFC 9449 §4, §8)."""

import hashlib
import re
import secrets
from typing import Any, Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright import base64url
from scopewright.bounded import BoundedDict

_NONCE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,256}")  # RFC 9449 §8.1
_MAX_ORIGINS: Final = 100


class Prover:
    """Makes proofs with one P-256 key. By default the key is generated, and exists only in this process.

    Keeps the last nonce of each origin. Raises ValueError for a key on another curve, and TypeError for no such key.
    """

    def __init__(self, key: ec.EllipticCurvePrivateKey | None = None) -> None:
        if key is not None and not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"dpop= takes True or a private key on P-256, not {type(key).__name__}")
        if key is not None and not isinstance(key.curve, ec.SECP256R1):
            raise ValueError("the key of DPoP proofs must be on P-256: their algorithm is ES256")
        self._key = key or ec.generate_private_key(ec.SECP256R1())
        self._header = {
            "typ": "dpop+jwt",
            "jwk": jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True),
        }
        self._nonces = BoundedDict[str, str](_MAX_ORIGINS)

    @classmethod
    def of(cls, dpop: bool | ec.EllipticCurvePrivateKey) -> "Prover | None":
        """A prover with the given key, or with a new one for True; None for False."""
        return cls(None if isinstance(dpop, bool) else dpop) if dpop else None

    def proof(self, method: str, url: httpx.URL, now: float, token: str | None = None) -> str:
        """A proof for one request, and for its access token if it has one. `now` is in seconds since 1970."""
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(16),
            "htm": method,
            "htu": _origin(url) + url.raw_path.decode("ascii").partition("?")[0],
            "iat": int(now),
        }
        if token is not None:
            claims["ath"] = base64url.encode(hashlib.sha256(token.encode()).digest())
        if (nonce := self._nonces.get(_origin(url))) is not None:
            claims["nonce"] = nonce
        return jwt.encode(claims, self._key, algorithm="ES256", headers=self._header)

    def keep_nonce(self, url: httpx.URL, nonce: str) -> bool:
        """Keep the `DPoP-Nonce` of a response from `url`. Returns whether it is one (RFC 9449 §8)."""
        if not _NONCE.fullmatch(nonce):
            return False
        self._nonces[_origin(url)] = nonce
        return True


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode('ascii')}"
