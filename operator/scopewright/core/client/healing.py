"""How often a Secret is healed: two controllers must not fight for ever, and a Secret is never absent for long.

A Secret that was edited is healed three times within an hour. One that is absent is always made again, at once
for the first four times within an hour and then after pauses that grow to five minutes: no Pod could start without it.
"""

from datetime import datetime, timedelta
from typing import Final

from scopewright.core.client.credentials import Cause, SecretOwnership
from scopewright.core.failures import Rejected
from scopewright.core.records import ClientRecord, Credential

MAX_HEALS: Final = 3
HEAL_WINDOW: Final = timedelta(hours=1)
FIRST_PAUSE: Final = timedelta(seconds=15)
LONGEST_PAUSE: Final = timedelta(minutes=5)


def heals(record: ClientRecord, current: Credential | None, now: datetime) -> tuple[datetime, ...]:
    """When the last hour's heals were made. One counts once its credential has reached the Secret."""
    recent = tuple(t for t in record.heals if now - t < HEAL_WINDOW)
    healed = current is not None and current.heal and now - current.issue_time < HEAL_WINDOW
    return (*recent, current.issue_time) if current and healed and current.issue_time not in recent else recent


def next_heal_time(record: ClientRecord, standing: SecretOwnership, now: datetime) -> datetime:
    """From when on the Secret may be healed."""
    recent = heals(record, None, now)
    if len(recent) < MAX_HEALS:
        return now
    if standing is not SecretOwnership.ABSENT:
        return sorted(recent)[-MAX_HEALS] + HEAL_WINDOW
    more = len(recent) - MAX_HEALS
    return max(recent) + min(FIRST_PAUSE * 2 ** (more - 1), LONGEST_PAUSE) if more else now


def check_healing_limit(record: ClientRecord | None, cause: Cause, standing: SecretOwnership, now: datetime) -> None:
    """`Rejected` where the cause is a heal that is to wait, with what heals the Secret now."""
    when = next_heal_time(record, standing, now) if record and cause.heal else now
    if when <= now:
        return
    often = f"{cause.message}, after {MAX_HEALS} heals or more within an hour: find out what edits or deletes it. "
    absent = standing is SecretOwnership.ABSENT
    now_by = "set another value of the annotation scopewright.dev/rotate" + ("" if absent else ", or delete the Secret")
    raise Rejected("HealingLimited", f"{often}To heal it now, {now_by}; otherwise it is healed at {when:%FT%TZ}")
