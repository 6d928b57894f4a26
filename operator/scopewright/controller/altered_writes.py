"""Detects objects that others change: during the write (admission), or after each write."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from scopewright.core.failed_writes import ALTERED
from scopewright.core.failures import Rejected
from scopewright.core.objects import Desired, Existing, Ref, differences

MAX_REPEATS: Final = 5
"""Writes of the same content within `REPEAT_WINDOW` after which something is taken to work against them."""
REPEAT_WINDOW: Final = timedelta(seconds=60)
MAX_NAMED: Final = 5
"""Differences and field managers that a message names."""
MAX_REMEMBERED: Final = 10_000
"""Objects whose last writes are remembered, and as many whose last write was altered."""


class AlteredWrites:
    """Memory of one term of leadership; it may be lost."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._altered: dict[Ref, None] = {}
        self._written: dict[Ref, tuple[int, tuple[datetime, ...]]] = {}

    def clear(self) -> None:
        self._altered.clear()
        self._written.clear()

    def expected(self, ref: Ref) -> bool:
        """Whether the last write of this object was altered: then a dry run shows whether the next one would be."""
        return ref in self._altered

    def at_write(self, write: Desired, stored: Existing) -> Rejected | None:
        """The difference between what was written and what the API server has stored or would store."""
        found = differences(write, stored)
        self._altered.pop(write.ref, None)
        if not found:
            return None
        self._altered[write.ref] = None
        if len(self._altered) > MAX_REMEMBERED:
            del self._altered[next(iter(self._altered))]
        return Rejected(
            ALTERED,
            f"the API server stores it otherwise than it is written: {_some(found)}. A mutating admission webhook or "
            "policy does that (kubectl get mutatingwebhookconfigurations,mutatingadmissionpolicies): except objects "
            "with the label app.kubernetes.io/managed-by=scopewright",
        )

    def after_write(self, write: Desired) -> Rejected | None:
        """Whether the same content was written again and again, because something changes it after each write."""
        if write.replaces is None:
            return None
        now, content = self._clock(), _content(write)
        known, times = self._written.pop(write.ref, (content, ()))
        times = (*(t for t in times if known == content and now - t < REPEAT_WINDOW), now)[-MAX_REPEATS:]
        self._written[write.ref] = (content, times)
        if len(self._written) > MAX_REMEMBERED:
            del self._written[next(iter(self._written))]
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
