"""What lies ahead of a SigningKey, for whoever watches it: the states of its keys, the next one, the end."""

from dataclasses import dataclass
from datetime import datetime

from scopewright.core.records import KeyRecord
from scopewright.core.signing.keys import KeyState, Timing, key_state, successor_due
from scopewright.core.signing.plan import SigningView


@dataclass(frozen=True, slots=True)
class KeySchedule:
    declared: bool
    """Whether the SigningKey is there; else its keys alone, which no other will follow."""
    keys: tuple[tuple[KeyRecord, KeyState], ...]
    """Those that belong into the JWKS."""
    next_rotation: datetime | None
    """When the successor of the newest published key is to be made; None where nobody declares the SigningKey."""
    signs_until: datetime | None
    """When the last of the published keys ends: then no token can be signed."""


def key_schedule(view: SigningView) -> KeySchedule:
    """A key that is made and cannot be published counts for nothing: that it is there helps nobody."""
    usable = tuple(r for r in view.usable if r.signing_start_time and r.signing_end_time)
    shown = [k.record for k in view.own if k.record.published_at(view.now)]
    return KeySchedule(
        declared=view.key is not None,
        keys=tuple((record, key_state(record, view.usable, view.now)) for record in shown),
        next_rotation=successor_due(usable, Timing.of(view.key, view.config)) if view.key and usable else None,
        signs_until=max((r.signing_end_time for r in usable if r.signing_end_time), default=None),
    )
