"""Limits of healing: two controllers must not undo each other without end, and a Secret must not be absent for long.

An edited Secret is healed up to three times within an hour. An absent Secret is always created again, because no Pod
can start without it: at once for the first four times within an hour, then after pauses of up to five minutes.
"""

from datetime import datetime, timedelta
from typing import Final

from scopewright.core.client.credentials import Cause, SecretOwnership
from scopewright.core.failures import Rejected
from scopewright.core.records.client import ClientRecord, Credential

MAX_HEALS: Final = 3
HEAL_WINDOW: Final = timedelta(hours=1)
FIRST_PAUSE: Final = timedelta(seconds=15)
MAX_PAUSE: Final = timedelta(minutes=5)


def recent_heals(record: ClientRecord, current: Credential | None, now: datetime) -> tuple[datetime, ...]:
    """Return the times of the heals within the last hour. A heal is counted once its credential is in the Secret."""
    recent = tuple(t for t in record.heals if now - t < HEAL_WINDOW)
    healed = current is not None and current.heal and now - current.issue_time < HEAL_WINDOW
    return (*recent, current.issue_time) if current and healed and current.issue_time not in recent else recent


def next_heal_time(record: ClientRecord, ownership: SecretOwnership, now: datetime) -> datetime:
    """Return the time from which on the Secret may be healed."""
    recent = recent_heals(record, None, now)
    if len(recent) < MAX_HEALS:
        return now
    if ownership is not SecretOwnership.ABSENT:
        return sorted(recent)[-MAX_HEALS] + HEAL_WINDOW
    more = len(recent) - MAX_HEALS
    return max(recent) + min(FIRST_PAUSE * 2 ** (more - 1), MAX_PAUSE) if more else now


def check_healing_limit(record: ClientRecord | None, cause: Cause, ownership: SecretOwnership, now: datetime) -> None:
    """Raise `Rejected` if the cause is a heal that has to wait. The message says how to heal the Secret now."""
    when = next_heal_time(record, ownership, now) if record and cause.heal else now
    if when <= now:
        return
    often = f"{cause.message}, after {MAX_HEALS} heals or more within an hour: find out what edits or deletes it. "
    absent = ownership is SecretOwnership.ABSENT
    remedy = "set another value of the annotation scopewright.dev/rotate" + ("" if absent else ", or delete the Secret")
    raise Rejected("HealingLimited", f"{often}To heal it now, {remedy}; otherwise it is healed at {when:%FT%TZ}")
