"""Failed writes: a plan does not repeat one before the time of its retry, and the status reports it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.core.objects import Desired, Ref, Write
from scopewright.core.plan import ConditionUpdate, stalled

ALTERED: Final = "AlteredOnWrite"
"""Reason of a write that another program changes, during the write or each time after it."""


@dataclass(frozen=True, slots=True)
class FailedWrite:
    """One write that failed. It is not retried before `retry_time`.

    `needs_user` is true if only a user or an administrator can remove the cause. `attempts` counts consecutive
    failures.
    """

    ref: Ref
    reason: str
    message: str
    retry_time: datetime
    needs_user: bool = True
    attempts: int = 1

    @property
    def is_reported(self) -> bool:
        """Whether a status mentions it: a single request without a response is normal."""
        return self.needs_user or self.attempts > 1


class WriteDeferred(Exception):
    """A plan needs a write whose retry is not due yet."""

    def __init__(self, failed_write: FailedWrite) -> None:
        super().__init__(failed_write.message)
        self.failed_write = failed_write


def failed_write_of(failed_writes: Iterable[FailedWrite], *refs: Ref) -> FailedWrite | None:
    """Return the first failed write of one of these objects."""
    return next((f for f in failed_writes if f.ref in refs), None)


def target_of(write: Write) -> Ref:
    return write.ref if isinstance(write, Desired) else write.existing.ref


def split_deferred(
    writes: Iterable[Write], failed_writes: Iterable[FailedWrite]
) -> tuple[tuple[Write, ...], FailedWrite | None]:
    """Return the writes that may be made now, and the first failed write of the others."""
    deferred = {f.ref: f for f in failed_writes}
    writes = tuple(writes)
    blocked = next((deferred[target_of(w)] for w in writes if target_of(w) in deferred), None)
    return tuple(w for w in writes if target_of(w) not in deferred), blocked


def allowed_writes(writes: Iterable[Write], failed_writes: Iterable[FailedWrite]) -> tuple[Write, ...]:
    """Return the writes that may be made now. Raise `WriteDeferred` if there are writes, but none may be made."""
    allowed, blocked = split_deferred(writes, failed_writes)
    if blocked and not allowed:
        raise WriteDeferred(blocked)
    return allowed


def not_ready(failed_write: FailedWrite) -> tuple[ConditionUpdate, ...]:
    """The conditions of an object whose write failed."""
    return not_ready_because(failed_write.reason, failed_write.message, needs_user=failed_write.needs_user)


def not_ready_because(reason: str, message: str, *, needs_user: bool) -> tuple[ConditionUpdate, ...]:
    """The same, from the parts of a failed write. They cause an event even if no user can help."""
    if needs_user:
        return stalled(Rejected(reason, message))
    return (ConditionUpdate("Ready", "False", reason, message),)
