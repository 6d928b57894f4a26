"""Writes that failed, kept until they succeed: when each is tried again, and with which credential or key."""

import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from scopewright.controller import object_backoff
from scopewright.controller.object_backoff import ObjectBackoff
from scopewright.controller.waiting_objects import WaitingObjects, causes
from scopewright.core.failed_writes import FailedWrite, target_of
from scopewright.core.failures import Rejected, Unavailable, changed_nothing
from scopewright.core.objects import Ref, Write
from scopewright.logs import log_fields

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
MAX_WOKEN: Final = 100
"""Objects that are retried at once because another one has recovered."""

log = logging.getLogger(__name__)

State = tuple[object, ...]
"""What an object's user has declared: after a change, failed writes are retried at once."""


@dataclass(slots=True)
class _Failing:
    """The failed writes of one object."""

    state: State
    failed_writes: dict[Ref, FailedWrite] = field(default_factory=dict)
    attempt: object = field(default=None, repr=False)
    last_unanswered: datetime | None = None
    """When a write last ended without an answer: it may have been stored, or still be."""
    pause: timedelta = timedelta()
    """The last pause."""
    woken_time: datetime = EARLIEST
    """When a pause was last cut short because another object had recovered."""


class WriteRetries:
    """By the object whose plan has the writes. Memory of one term of leadership; may be lost."""

    def __init__(self, pauses: ObjectBackoff | None = None) -> None:
        self._pauses = pauses or ObjectBackoff()
        self._failing: dict[Ref, _Failing] = {}
        self._waiting = WaitingObjects()

    def clear(self) -> None:
        self._failing.clear()
        self._waiting.clear()
        self._pauses.clear()

    def _of(self, key: Ref) -> _Failing:
        return self._failing.get(key) or _Failing(())

    def on_hold(self, key: Ref, state: State, now: datetime) -> tuple[FailedWrite, ...]:
        """The writes that must not be retried yet; none if the user has changed the object since."""
        failing = self._of(key)
        if failing.state != state:
            return ()
        # Later than the end of any pause: the clock was set back since.
        latest = now + timedelta(seconds=2 * object_backoff.MAX_PAUSE_SECONDS)
        return tuple(s for s in failing.failed_writes.values() if now < s.retry_time < latest)

    def retry_time(self, key: Ref) -> datetime | None:
        """When the failed writes of this object are retried; None if there are none."""
        return min((s.retry_time for s in self._of(key).failed_writes.values()), default=None)

    def attempt(self, key: Ref) -> object:
        """The credential or key of the last attempt that failed, if any."""
        return self._of(key).attempt

    def last_unanswered(self, key: Ref) -> datetime | None:
        """When a write of this object last ended without an answer; None if all were answered."""
        return self._of(key).last_unanswered

    def attempt_started(self, key: Ref, attempt: object, state: State) -> None:
        """Keep the credential or key whose writes begin, whether they succeed or not."""
        self._failing.setdefault(key, _Failing(state)).attempt = attempt

    def attempt_succeeded(self, key: Ref) -> None:
        """All writes of the attempt have succeeded."""
        if failing := self._failing.get(key):
            failing.attempt = None
            self._tidy(key, failing)

    def failed(self, key: Ref, write: Write, error: Rejected | Unavailable, state: State, now: datetime) -> FailedWrite:
        failing = self._failing.setdefault(key, _Failing(state))
        failing.state = state
        failing.last_unanswered = failing.last_unanswered if changed_nothing(error) else now
        ref = target_of(write)
        pause = self._pauses.failed(key, error.retry_after if isinstance(error, Unavailable) else 0.0)
        failing.pause = timedelta(seconds=pause)
        known = failing.failed_writes.get(ref)
        failed_write = FailedWrite(
            ref, error.reason, f"{ref}: {error.message}", now + failing.pause,
            needs_user=isinstance(error, Rejected), attempts=known.attempts + 1 if known else 1,
        )  # fmt: skip
        if known and known.reason == failed_write.reason and _gist(known.message) == _gist(failed_write.message):
            # The server's text may vary: the status keeps the first one, to be written once.
            failed_write = replace(failed_write, message=known.message)
        failing.failed_writes[ref] = failed_write
        # All failed writes of one object are retried together.
        failing.failed_writes = {
            at: replace(s, retry_time=failed_write.retry_time) for at, s in failing.failed_writes.items()
        }
        self._waiting.put(key, causes(failing.failed_writes.values()))
        _log_failure(key, failed_write, pause)
        return failed_write

    def succeeded(self, key: Ref, ref: Ref, now: datetime) -> set[Ref]:
        """The objects to retry at once, because their cause may have ended too: those of the namespace that have waited
        longest, and those of all namespaces with a shared cause. No object is woken twice within one of its pauses.
        """
        failing = self._of(key)
        failed_write = failing.failed_writes.pop(ref, None)
        if failed_write is None:
            return set()
        self._tidy(key, failing)
        alike = self._waiting.longest(causes((failed_write,)), MAX_WOKEN)
        return set(islice((other for other in alike if self._wakes(other, now)), MAX_WOKEN))

    def _wakes(self, key: Ref, now: datetime) -> bool:
        """Make the failed writes of the object due, unless it was woken within its pause. Return whether it was."""
        failing = self._failing[key]
        if failing.woken_time <= now < failing.woken_time + failing.pause:
            return False
        failing.woken_time = now
        failing.failed_writes = {at: replace(s, retry_time=EARLIEST) for at, s in failing.failed_writes.items()}
        self._waiting.woken(key)
        return True

    def settled(self, key: Ref, needed: tuple[FailedWrite, ...]) -> None:
        """Keep only these failed writes: the plan no longer needs the others."""
        failing = self._failing.get(key)
        if failing is None:
            return
        refs = {s.ref for s in needed}
        failing.failed_writes = {ref: s for ref, s in failing.failed_writes.items() if ref in refs}
        if not failing.failed_writes:
            failing.attempt = None
        self._tidy(key, failing)

    def _tidy(self, key: Ref, failing: _Failing) -> None:
        self._waiting.put(key, causes(failing.failed_writes.values()))
        if not failing.failed_writes:
            self._pauses.succeeded(key)
            if failing.attempt is None:
                self._failing.pop(key, None)


def _gist(message: str) -> str:
    """The object, and what refuses it: the part of the message before the API server's own text."""
    return message.partition(": ")[2].partition(": ")[0]


def _log_failure(key: Ref, failed_write: FailedWrite, pause: float) -> None:
    """Log the first failures, then fewer and fewer; none in a namespace that is being deleted. A first conflict is no
    problem: two objects with one target were written at once, as at the first start.
    """
    attempt = failed_write.attempts
    level = logging.INFO if failed_write.reason == "Conflict" and attempt == 1 else logging.WARNING
    is_shown = attempt & (attempt - 1) == 0 and failed_write.reason != "NamespaceTerminating"
    log.log(
        level if is_shown else logging.DEBUG,
        "%s: %s; attempt %d, retrying in %.1f s", key, failed_write.message, attempt, pause,
        extra=log_fields(key, object=str(failed_write.ref), reason=failed_write.reason, again_in=round(pause, 1)),
    )  # fmt: skip
