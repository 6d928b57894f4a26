"""The records that issuers write: use of credentials, and revocations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from scopewright.core.records.client import ClientRecord
from scopewright.core.records.fields import NOT_IF_EMPTY, RECORD_CONFIG, Instant


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Last use of credentials, as reported by issuers. It is a hint, and can only extend an overlap within the policy.

    `used` maps `usage_key` of a credential to minutes since the epoch. `since` is the start of the reports.
    """

    __pydantic_config__ = RECORD_CONFIG

    since: Instant
    used: dict[str, int] = field(default_factory=dict)
    version: Literal[1] = 1

    def of(self, client: ClientRecord) -> dict[str, datetime]:
        """Return the reported last use of each of its credentials, and of its own credential, by SHA-256."""
        digests = (*(c.sha256 for c in client.credentials), client.identity)
        minutes = {sha256: self.used[key] for sha256 in digests if (key := usage_key(sha256)) in self.used}
        return {sha256: datetime.fromtimestamp(value * 60, UTC) for sha256, value in minutes.items()}


def usage_key(sha256: str) -> str:
    """Return the key of a credential in the usage record: 64 bits of its digest, which do not reveal the secret."""
    return sha256[:16]


@dataclass(frozen=True, slots=True)
class RevocationRecord:
    """Tokens that ended before their expiry, written by issuers. `core.revocations` evaluates and merges such records.

    All times are seconds since the epoch. `tokens` has the `exp` of each token; the other fields are not-before times:
    tokens issued at that time or earlier have ended. A client is named by the hash of its UID, the rest by their own.
    """

    __pydantic_config__ = RECORD_CONFIG

    tokens: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client and token."""
    clients: Mapping[str, int] = field(default_factory=dict)
    access: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By client and audience."""
    audiences: Mapping[str, int] = field(default_factory=dict)
    namespaces: Mapping[str, int] = field(default_factory=dict)
    """By namespace of a token's client or of its API."""
    everybody: int = 0
    """For all tokens."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Namespace of the clients and audiences above. If there are too many entries, those of a namespace become one."""
    longest_lifetime: Annotated[int, Field(ge=0, le=2**53)] = 0
    """Longest `maxTokenLifetime` that an issuer has seen: a lower value does not shorten tokens that exist."""
    sessions: Annotated[Mapping[str, Mapping[str, int]], NOT_IF_EMPTY] = field(default_factory=dict)
    """By user (`sub`) and session (`sid`): when it ended. All of its tokens have ended. This field and the next five
    concern tokens of users only, and all their times are those of the event."""
    users: Annotated[Mapping[str, int], NOT_IF_EMPTY] = field(default_factory=dict)
    """By user (`sub`)."""
    user_access: Annotated[Mapping[str, int], NOT_IF_EMPTY] = field(default_factory=dict)
    """By audience: users lost a scope or role there."""
    user_clients: Annotated[Mapping[str, int], NOT_IF_EMPTY] = field(default_factory=dict)
    """By client: its tokens of users, but not those for itself."""
    user_tokens: Annotated[Mapping[str, Mapping[str, int]], NOT_IF_EMPTY] = field(default_factory=dict)
    """By client and token: when it was revoked; such a token has ended. Also by client and grant, the part that the
    `jti` of its tokens share; and by client and user, as a not-before time."""
    every_user: Annotated[int, NOT_IF_EMPTY] = 0
    """For all tokens of users."""
    version: Literal[1] = 1
