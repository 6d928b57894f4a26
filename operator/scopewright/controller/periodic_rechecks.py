"""When an object that is not Ready is reconciled again, although no watch reports a change."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from scopewright.core.objects import Ref

UNWATCHED: Final = (
    "SecretConflict",
    "SecretNotFound",
    "SecretEntryMissing",
    "SecretTypeNotAllowed",
    "ConfigMapNotFound",
    "ConfigMapEntryMissing",
)
"""Reasons that end when a Secret or ConfigMap changes that Scopewright does not manage. It is not watched: only a read
shows that it was deleted, created or corrected.
"""
UNWATCHED_INTERVAL: Final = timedelta(seconds=10)
"""Between two reads of such an object."""
READS_PER_SECOND: Final = 10
"""Reads of such objects, for all that wait for one."""


class PeriodicRechecks:
    """`interval` is the pause for objects whose cause is watched: an event may have been lost."""

    def __init__(self, interval: timedelta, clock: Callable[[], datetime]) -> None:
        self._interval = max(interval, timedelta(seconds=5))
        self._clock = clock
        self._waiting: set[Ref] = set()

    def due(self, key: Ref, status: Mapping[str, Any] | None) -> datetime | None:
        """When to reconcile an object with this status again; None if it is Ready or deleted."""
        conditions = (status or {}).get("conditions", ())
        reason = next((c["reason"] for c in conditions if c["type"] == "Ready" and c["status"] != "True"), None)
        if reason not in UNWATCHED:
            self._waiting.discard(key)
            return self._clock() + self._interval if reason else None
        self._waiting.add(key)
        return self._clock() + max(UNWATCHED_INTERVAL, timedelta(seconds=len(self._waiting) / READS_PER_SECOND))
