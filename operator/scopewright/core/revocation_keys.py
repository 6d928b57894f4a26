"""Names in revocation records: 72 bits of the SHA-256 of a client's UID, and 64 bits of that of all else."""

import hashlib
import re
from functools import lru_cache
from typing import Final

from scopewright import base64url

UID_HASH_LENGTH: Final = 12
"""Characters of base64url: 72 bits of the SHA-256 of the OAuthClient's UID, the prefix of each `jti`."""
GRANT_KEY_LENGTH: Final = UID_HASH_LENGTH + 12
"""Characters of a `jti` that all tokens by one authorization code share: they can be revoked by one entry."""
_KEY_BYTES: Final = 8
_DEFAULT_AUDIENCE: Final = re.compile(r"https://[^./:]+\.([^./:]+)\.svc")
"""The default audience of an API."""


def uid_hash(uid: str) -> str:
    """Return the hash that stands for the object with this UID: UID_HASH_LENGTH characters."""
    return base64url.encode(hashlib.sha256(uid.encode()).digest())[:UID_HASH_LENGTH]


def token_key(jti: str) -> str:
    """Return 64 bits of the SHA-256. That is enough among the tokens of one client, which it cannot choose."""
    return _key(jti)


@lru_cache(maxsize=1024)
def audience_key(audience: str) -> str:
    """Return the key of an audience, which most tokens share with others: the last ones are kept."""
    return _key(audience)


@lru_cache(maxsize=1024)
def namespace_key(namespace: str) -> str:
    return _key(namespace)


def session_key(sid: str) -> str:
    """Return the key of a session. The issuer chooses `sid` at random, so a caller cannot make two of one key."""
    return _key(sid)


def user_key(subject: str) -> str:
    return _key(subject)


def owner_of_audience(audience: str) -> str | None:
    """Return the key of the namespace in a default audience; None for any other audience."""
    named = _DEFAULT_AUDIENCE.fullmatch(audience)
    return namespace_key(named[1]) if named else None


def namespaces_of(client_id: str, audience: str) -> tuple[str, ...]:
    """Return the keys of a token's namespaces: that of its client, and that of its API for a default audience."""
    owner = owner_of_audience(audience)
    return (namespace_key(client_id.partition(".")[0]), *((owner,) if owner else ()))


def _key(text: str) -> str:
    return base64url.encode(hashlib.sha256(text.encode()).digest()[:_KEY_BYTES])
