"""A verified access token."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Token:
    """What a service may rely on. Times are seconds since 1970; `claims` is everything that was signed (RFC 9068 §2.2).

    `value` is the token as it was sent, for handing it on to a token exchange; neither it nor `claims` is in the repr.
    """

    subject: str
    client_id: str
    scopes: frozenset[str]
    issuer: str
    audience: tuple[str, ...]
    expires_at: float
    claims: Mapping[str, Any] = field(repr=False, hash=False)
    value: str = field(repr=False)
    jkt: str | None = None
    """The thumbprint of the key that it is bound to, where it is (RFC 9449 §6.1)."""
