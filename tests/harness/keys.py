"""ES256 key pairs for tests of the operator: one name is always the same key."""

import hashlib
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.controller.key_generation import public_members
from scopewright.core.signing.view import GeneratedKey
from scopewright.verifier.thumbprint import thumbprint


@cache
def named_key(name: str) -> GeneratedKey:
    """The key pair of this name, as `make_key` of the operator returns one; its private number is a digest of the name.

    A test that lists several keys calls them `key 1`, `key 2`, ..., which are those that `OperatorHarness` generates.
    """
    private = ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()), ec.SECP256R1())
    members = public_members(private)
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return GeneratedKey({**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}, pem)
