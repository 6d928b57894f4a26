"""The records that issuers write: use of credentials, session stores, and revocations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from scopewright.core.records.client import ClientRecord
from scopewright.core.records.fields import NOT_IF_EMPTY, RECORD_CONFIG, Instant

MAX_SESSION_STORES: Final = 16
"""In the usage record. Issuers that share a store report it together, so one is the rule and two are a mistake."""
MAX_REPORT_TIME: Final = 2**37
"""In the year 6325, which every `datetime` can have."""
_MAX_USE_MINUTES: Final = 2**31

StoreKey = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
"""Names a session store: 64 bits of the SHA-256 of its id."""
ReportTime = Annotated[int, Field(ge=0, le=MAX_REPORT_TIME)]
"""Seconds since the epoch, by the reporter's clock. Each report of one store has a later one than the report before."""


@dataclass(frozen=True, slots=True)
class SessionStoreReport:
    """What issuers report of their session store.

    `others` are reports of other stores that they have read: after that, their own store was still another one.
    """

    __pydantic_config__ = RECORD_CONFIG

    reported: ReportTime
    others: Annotated[Mapping[StoreKey, ReportTime], Field(max_length=MAX_SESSION_STORES), NOT_IF_EMPTY] = field(
        default_factory=dict
    )


def _empty_if_malformed(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return {}


SessionStoreReports = Mapping[StoreKey, SessionStoreReport]


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """Last use of credentials, as reported by issuers. It is a hint, and can only extend an overlap within the policy.

    `used` maps `usage_key` of a credential to minutes since the epoch. `since` is the start of the reports.
    """

    __pydantic_config__ = RECORD_CONFIG

    since: Instant
    used: dict[str, int] = field(default_factory=dict)
    session_stores: Annotated[
        SessionStoreReports,
        Field(max_length=2 * MAX_SESSION_STORES),
        WrapValidator(_empty_if_malformed),
        NOT_IF_EMPTY,
    ] = field(default_factory=dict)
    """By store; see `core.session_stores`. Issuers report again what is malformed, and use of credentials goes on."""
    version: Literal[1] = 1

    def of(self, client: ClientRecord) -> dict[str, datetime]:
        """Return the reported last use of each of its credentials, and of its own credential, by SHA-256."""
        digests = (*(c.sha256 for c in client.credentials), client.identity)
        minutes = {sha256: self.used[key] for sha256 in digests if (key := usage_key(sha256)) in self.used}
        return {sha256: _instant(value) for sha256, value in minutes.items()}


def _instant(minutes: int) -> datetime:
    """Of minutes since the epoch; the nearest one of a range that every `datetime` can have."""
    return datetime.fromtimestamp(min(max(minutes, 0), _MAX_USE_MINUTES) * 60, UTC)


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
