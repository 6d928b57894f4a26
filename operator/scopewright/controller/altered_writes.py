"""Detects objects that others change: during the write (admission), or after each write."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.core.failed_writes import ALTERED
from scopewright.core.failures import Rejected
from scopewright.core.objects import Desired, Existing, Ref, differences

MAX_REPEATS: Final = 5
"""Writes of the same content within `REPEAT_WINDOW` after which another writer is assumed to undo them."""
REPEAT_WINDOW: Final = timedelta(seconds=60)
MAX_NAMED: Final = 5
"""Differences and field managers that a message names."""
MAX_REMEMBERED: Final = 10_000
"""Objects whose last writes are remembered, and as many whose last write was altered."""


class AlteredWrites:
    """The last writes of one term of leadership; may be lost."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._altered = BoundedDict[Ref, None](MAX_REMEMBERED)
        self._written = BoundedDict[Ref, tuple[int, tuple[datetime, ...]]](MAX_REMEMBERED)

    def clear(self) -> None:
        self._altered.clear()
        self._written.clear()

    def expected(self, ref: Ref) -> bool:
        """Whether the last write of this object was altered: a dry run then shows whether the next one would be."""
        return ref in self._altered

    def at_write(self, write: Desired, stored: Existing) -> Rejected | None:
        """Why the API server has stored, or would store, other content than was written; None if it is the same."""
        found = differences(write, stored)
        self._altered.pop(write.ref, None)
        if not found:
            return None
        self._altered[write.ref] = None
        return Rejected(
            ALTERED,
            f"the API server stores other content than is written: {_some(found)}. A mutating admission webhook or "
            "policy does that (kubectl get mutatingwebhookconfigurations,mutatingadmissionpolicies): except objects "
            "with the label app.kubernetes.io/managed-by=scopewright",
        )

    def after_write(self, write: Desired) -> Rejected | None:
        """Why the same content is written again and again: another writer changes it after each write. None
        otherwise.
        """
        if write.replaces is None:
            return None
        now, content = self._clock(), _content(write)
        known, times = self._written.get(write.ref, (content, ()))
        times = (*(t for t in times if known == content and now - t < REPEAT_WINDOW), now)[-MAX_REPEATS:]
        self._written[write.ref] = (content, times)
        if len(times) < MAX_REPEATS:
            return None
        by = f" by {_some(write.replaces.managers)}" if write.replaces.managers else ""
        what = _some(differences(write, write.replaces))
        return Rejected(ALTERED, f"it is changed{by} after each write: {what}. Have that leave this object alone")


def _content(write: Desired) -> int:
    parts = (write.digests(), write.labels, write.annotations)
    return hash((*(tuple(sorted(part.items())) for part in parts), write.owner))


def _some(found: tuple[str, ...]) -> str:
    more = f" and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ", ".join(found[:MAX_NAMED]) + more
