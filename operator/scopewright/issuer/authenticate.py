"""Second step: a TokenRequest's credential becomes an Authenticated client, or nothing.

The path follows the record's method, never what was sent. Nothing here says why not: that is `reason`, for the audit.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Literal

from scopewright.issuer.entries import Client
from scopewright.issuer.request import Presented

_LABEL: Final = "[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_CLIENT_ID: Final = re.compile(rf"{_LABEL}\.{_LABEL}", re.ASCII)


@dataclass(slots=True)
class Authenticated:
    """A client that has proved who it is, with the credential of this SHA-256."""

    client: Client
    digest: bytes = field(repr=False)


Reason = Literal["unknown_client", "disabled", "other_method", "wrong_secret"]


def can_exist(client_id: str) -> bool:
    """Whether it is `<namespace>.<name>` at all, and so worth a read."""
    return _CLIENT_ID.fullmatch(client_id) is not None


def authenticate(client: Client | None, presented: Presented, now: float) -> Authenticated | None:
    """Every credential is compared, in constant time, whatever the ones before gave."""
    if client is None or client.disabled or client.method != "ClientSecret":
        return None
    digest = hashlib.sha256(presented.secret.encode()).digest()
    accepted = False
    for sha256, end in client.credentials:
        accepted |= hmac.compare_digest(sha256, digest) and now < end
    return Authenticated(client, digest) if accepted else None


def reason(client: Client | None) -> Reason:
    """Why `authenticate` gave nothing; it never reaches the caller."""
    if client is None:
        return "unknown_client"
    if client.disabled:
        return "disabled"
    return "wrong_secret" if client.method == "ClientSecret" else "other_method"
