"""Writes that failed and are tried again: what a plan must leave alone until then, and what a status says about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.core.objects import Desired, Ref, Write
from scopewright.core.plan import ConditionUpdate, stalled

ALTERED: Final = "AlteredOnWrite"
"""The reason of a write that others change, at once or each time after it."""


@dataclass(frozen=True, slots=True)
class FailedWrite:
    """One write that failed. It is not tried again before `retry_time`.

    `needs_user` is true where only a user or an administrator can remove the cause. `attempts` counts failures in a
    row.
    """

    ref: Ref
    reason: str
    message: str
    retry_time: datetime
    needs_user: bool = True
    attempts: int = 1

    @property
    def is_reported(self) -> bool:
        """Whether a status mentions it: one request without an answer is everyday life."""
        return self.needs_user or self.attempts > 1


class WriteDeferred(Exception):
    """A plan needs a write that failed a moment ago."""

    def __init__(self, failed_write: FailedWrite) -> None:
        super().__init__(failed_write.message)
        self.failed_write = failed_write


def failed_write_of(failed_writes: Iterable[FailedWrite], *refs: Ref) -> FailedWrite | None:
    """The first failed_write of one of these objects."""
    return next((s for s in failed_writes if s.ref in refs), None)


def ref_of(write: Write) -> Ref:
    return write.ref if isinstance(write, Desired) else write.existing.ref


def split_deferred(
    writes: Iterable[Write], failed_writes: Iterable[FailedWrite]
) -> tuple[tuple[Write, ...], FailedWrite | None]:
    """The writes that may be made now, and the first failed_write of the others."""
    held = {s.ref: s for s in failed_writes}
    writes = tuple(writes)
    blocked = next((held[ref_of(w)] for w in writes if ref_of(w) in held), None)
    return tuple(w for w in writes if ref_of(w) not in held), blocked


def allowed_writes(writes: Iterable[Write], failed_writes: Iterable[FailedWrite]) -> tuple[Write, ...]:
    """The writes that may be made now; `WriteDeferred` where there are writes, and none of them may."""
    allowed, blocked = split_deferred(writes, failed_writes)
    if blocked and not allowed:
        raise WriteDeferred(blocked)
    return allowed


def not_ready(failed_write: FailedWrite) -> tuple[ConditionUpdate, ...]:
    """The conditions of an object that lacks what could not be written."""
    return refused(failed_write.reason, failed_write.message, needs_user=failed_write.needs_user)


def refused(reason: str, message: str, *, needs_user: bool) -> tuple[ConditionUpdate, ...]:
    """Not ready because of a failed write, and worth an event, whether or not a user can help."""
    if needs_user:
        return stalled(Rejected(reason, message))
    return (ConditionUpdate("Ready", "False", reason, message),)
