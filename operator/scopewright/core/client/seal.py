"""The seal on a credential Secret. It proves that Scopewright wrote the Secret, and that it is unchanged."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Final

KEY_BYTES: Final = 32


def seal(
    key: bytes,
    issuer: str,
    client_id: str,
    issue_time: str,
    entries: Mapping[str, str],
    public_key: str = "",
    *,
    retained: bool = False,
    rotate: str = "",
) -> str:
    """Return the HMAC-SHA256 (hex) over issuer, client, issue time, and the digests of all entries. It also covers the
    public key of a key pair, whether the Secret outlives its client and, if so, the digest of the value of
    `scopewright.dev/rotate` at creation.

    It covers no UID, because a restore into another cluster changes the UID. The owner reference shows whose Secret it
    is, and the record whether its credential is accepted.
    """
    sealed: list[object] = [1, issuer, client_id, issue_time, sorted(entries.items())]
    sealed += [public_key] if public_key else []
    sealed += [{"deletionPolicy": "Retain"} | ({"rotate": rotate} if rotate else {})] if retained else []
    message = json.dumps(sealed, separators=(",", ":"))
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def verifies(stated: str, expected: str) -> bool:
    return hmac.compare_digest(stated.encode(), expected.encode())
