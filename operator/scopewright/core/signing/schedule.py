"""Schedule of a SigningKey for monitoring: the states of its keys, the next rotation, the end."""

from dataclasses import dataclass
from datetime import datetime

from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.keys import KeyState, Timing, key_state, successor_due
from scopewright.core.signing.view import SigningView


@dataclass(frozen=True, slots=True)
class KeySchedule:
    declared: bool
    """Whether the SigningKey exists. If not, its keys have no successor."""
    keys: tuple[tuple[KeyRecord, KeyState], ...]
    """Keys that belong in the JWKS."""
    next_rotation: datetime | None
    """Time at which the successor of the newest published key is due; None without a SigningKey."""
    signs_until: datetime | None
    """End of the last published key. After it, no token can be signed."""


def key_schedule(view: SigningView) -> KeySchedule:
    """Return the schedule. A key that was created and is not published is ignored: nothing can be signed with it."""
    usable = tuple(r for r in view.usable if r.signing_start_time and r.signing_end_time)
    shown = [k.record for k in view.own if k.record.published_at(view.now)]
    return KeySchedule(
        declared=view.key is not None,
        keys=tuple((record, key_state(record, view.usable, view.now)) for record in shown),
        next_rotation=successor_due(usable, Timing.of(view.key, view.config)) if view.key and usable else None,
        signs_until=max((r.signing_end_time for r in usable if r.signing_end_time), default=None),
    )
