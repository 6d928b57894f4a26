"""The thumbprint of a public key (RFC 7638, RFC 8037 §2), used as `kid`, and as the `jkt` of a token."""

import hashlib
import json
from collections.abc import Mapping
from typing import Final

from scopewright import base64url

MEMBERS: Final[Mapping[str, tuple[str, ...]]] = {
    "EC": ("crv", "kty", "x", "y"),
    "RSA": ("e", "kty", "n"),
    "OKP": ("crv", "kty", "x"),
}
"""The required members of a key by `kty`, in the order of RFC 7638 §3.2."""


def thumbprint(jwk: Mapping[str, object]) -> str:
    """The SHA-256 thumbprint as base64url; an empty string if `jwk` is not a public key."""
    members = {name: jwk.get(name) for name in MEMBERS.get(str(jwk.get("kty")), ())}
    if not members or not all(isinstance(value, str) and value for value in members.values()):
        return ""
    digest = hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest()
    return base64url.encode(digest)
