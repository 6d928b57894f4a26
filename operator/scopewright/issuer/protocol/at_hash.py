"""`at_hash` of ID tokens: of those that the issuer signs, and of those that a provider sends."""

import hashlib
from typing import Final

from scopewright import base64url

_SHA512: Final = ("EdDSA", "Ed25519")
"""OpenID Connect names no hash for them. Providers use that of Ed25519."""


def at_hash(access_token: bytes, alg: str) -> str:
    """The left half of the access token's hash, by the hash function of `alg` (OpenID Connect Core §3.1.3.6)."""
    name = "sha384" if alg.endswith("384") else "sha512" if alg.endswith("512") or alg in _SHA512 else "sha256"
    digest = hashlib.new(name, access_token).digest()
    return base64url.encode(digest[: len(digest) // 2])
