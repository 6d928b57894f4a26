"""The seal on a credential Secret: what lets a restored Secret prove that it is ours and as we left it."""

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
    """HMAC-SHA256 (hex) over whose credential this is, since when, the digest of every entry, the public key that
    belongs to the private one among them, where one does, whether the Secret outlives its client, and then the digest
    of the value of `scopewright.dev/rotate` that it was made for, where there was one.

    It binds no UID, because a restore into another cluster changes that; who owns a Secret is told by its owner
    reference, and whether its credential is accepted by the record.
    """
    sealed: list[object] = [1, issuer, client_id, issue_time, sorted(entries.items())]
    sealed += [public_key] if public_key else []
    sealed += [{"deletionPolicy": "Retain"} | ({"rotate": rotate} if rotate else {})] if retained else []
    message = json.dumps(sealed, separators=(",", ":"))
    return hmac.new(key, message.encode(), hashlib.sha256).hexdigest()


def verifies(stated: str, expected: str) -> bool:
    return hmac.compare_digest(stated.encode(), expected.encode())
