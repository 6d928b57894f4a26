"""The private key of a client, as a JWK."""

import json

import jwt

from scopewright.client.errors import SecretError


def parse_private_key(text: str, name: str = "the private key") -> jwt.PyJWK:
    """A private JWK of a kind that signs. Raises `SecretError`, whose text contains `name` and nothing of the key."""
    try:
        members = json.loads(text)
        asymmetric = isinstance(members, dict) and members.get("kty") in ("EC", "RSA", "OKP")
        key = jwt.PyJWK(members) if asymmetric else None
    except (ValueError, RecursionError, TypeError, jwt.PyJWTError):
        key = None
    if key is None or not hasattr(key.key, "sign"):
        raise SecretError(
            f"{name} is not a private JWK of kty EC, RSA or OKP; use private_key.jwk of the Secret as it is"
        )
    return key
