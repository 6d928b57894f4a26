"""Life cycle of a signing key: created, published (Pending), Active, Retiring, removed; or revoked at once.

Three times in the key's record decide, which are set once the JWKS contains the key. Issuers apply them by themselves.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from scopewright.api import SigningKey
from scopewright.core.config import Config
from scopewright.core.records.signing_key import KeyRecord


class KeyState(Enum):
    PENDING = "Pending"
    ACTIVE = "Active"
    RETIRING = "Retiring"


@dataclass(frozen=True, slots=True)
class Timing:
    """Length of each stage, from the SigningKey and the platform's configuration."""

    every: timedelta
    lead_time: timedelta
    """From publication to the first signature: `publishAhead`, the JWKS' max-age and the slowest replica."""
    outage_budget: timedelta
    verification_period: timedelta
    """From the last signature until no token can be valid: longest lifetime, clock skew, the JWKS' max-age."""

    @classmethod
    def of(cls, key: SigningKey, config: Config) -> "Timing":
        rotation = key.spec.rotation
        return cls(
            every=rotation.every,
            lead_time=rotation.publish_ahead + config.min_lead_time,
            outage_budget=config.outage_budget,
            verification_period=config.max_token_lifetime + config.clock_skew + config.jwks_max_age,
        )


def with_times(record: KeyRecord, timing: Timing, now: datetime) -> KeyRecord:
    """Return the record with its three times; `now` is after the write of the JWKS was seen."""
    start = now if record.at_once else now + timing.lead_time
    end = start + timing.every + timing.outage_budget
    last = end + timing.verification_period
    return replace(record, signing_start_time=start, signing_end_time=end, verification_end_time=last)


def with_revocation(record: KeyRecord, now: datetime) -> KeyRecord:
    """Return the record as revoked. It stays, so that its kid is never accepted again; its private key is removed."""
    return replace(record, revoked_time=now)


def active_key(records: tuple[KeyRecord, ...], now: datetime) -> KeyRecord | None:
    """Return the key that signs: of those that may sign, the one that started last."""
    signing = [r for r in records if r.signs_at(now)]
    return max(signing, key=lambda r: (r.signing_start_time or now, r.kid), default=None)


def key_state(record: KeyRecord, among: tuple[KeyRecord, ...], now: datetime) -> KeyState:
    if record.signing_start_time is None or now < record.signing_start_time:
        return KeyState.PENDING
    signing = active_key(among, now)
    return KeyState.ACTIVE if signing and signing.kid == record.kid else KeyState.RETIRING


def successor_due(records: tuple[KeyRecord, ...], timing: Timing) -> datetime | None:
    """Return when the next key must be published, to sign once the newest one has signed for `every`.

    None while the newest is not published itself. If `every` was shorter when the newest was created, that value
    applies: the key ends then, and the outage budget is reserved for outages.
    """
    newest = max(records, key=lambda r: r.creation_time)
    if newest.signing_start_time is None or newest.signing_end_time is None:
        return None
    latest = newest.signing_end_time - timing.outage_budget
    return min(newest.signing_start_time + timing.every, latest) - timing.lead_time
