"""The life of a signing key: made, published, Pending, Active, Retiring, removed; or revoked at once.

Three instants decide, written into the key's own record once the JWKS holds it; issuers obey them by themselves.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from scopewright.api import SigningKey
from scopewright.core.config import Config
from scopewright.core.records import KeyRecord


class KeyState(Enum):
    PENDING = "Pending"
    ACTIVE = "Active"
    RETIRING = "Retiring"


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each stage takes; from the SigningKey and the platform's configuration."""

    every: timedelta
    lead: timedelta
    """From publication to the first signature: `publishAhead`, the JWKS' max-age and the slowest replica."""
    outage: timedelta
    tail: timedelta
    """From the last signature until no token can be valid: longest lifetime, clock skew, the JWKS' max-age."""

    @classmethod
    def of(cls, key: SigningKey, config: Config) -> "Timing":
        rotation = key.spec.rotation
        return cls(
            every=rotation.every,
            lead=rotation.publish_ahead + config.key_lead,
            outage=config.outage_budget,
            tail=config.max_token_lifetime + config.clock_skew + config.jwks_max_age,
        )


def with_times(record: KeyRecord, timing: Timing, now: datetime) -> KeyRecord:
    """The record with its instants; `now` is after the write of the JWKS was seen."""
    start = now if record.at_once else now + timing.lead
    end = start + timing.every + timing.outage
    return replace(record, signing_start_time=start, signing_end_time=end, verification_end_time=end + timing.tail)


def with_revocation(record: KeyRecord, now: datetime) -> KeyRecord:
    """The kid is remembered, so that it never comes back; the private part leaves with the write of this record."""
    return replace(record, revoked_time=now)


def active_key(records: tuple[KeyRecord, ...], now: datetime) -> KeyRecord | None:
    """The key that signs: of those that may, the one that began last."""
    signing = [r for r in records if r.signs_at(now)]
    return max(signing, key=lambda r: (r.signing_start_time or now, r.kid), default=None)


def key_state(record: KeyRecord, among: tuple[KeyRecord, ...], now: datetime) -> KeyState:
    if record.signing_start_time is None or now < record.signing_start_time:
        return KeyState.PENDING
    signing = active_key(among, now)
    return KeyState.ACTIVE if signing and signing.kid == record.kid else KeyState.RETIRING


def successor_due(records: tuple[KeyRecord, ...], timing: Timing) -> datetime | None:
    """When the next key must be published in order to sign when the newest one has signed for `every`.

    None while the newest is not published itself. What `every` was when it was made holds, if that was less: the key
    ends then, and the outage budget is there for outages.
    """
    newest = max(records, key=lambda r: r.creation_time)
    if newest.signing_start_time is None or newest.signing_end_time is None:
        return None
    return min(newest.signing_start_time + timing.every, newest.signing_end_time - timing.outage) - timing.lead
