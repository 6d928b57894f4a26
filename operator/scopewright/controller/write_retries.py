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
from scopewright.logs import about

EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
MAX_WOKEN: Final = 100
"""Objects that are tried at once because another one has just recovered."""

log = logging.getLogger(__name__)

State = tuple[object, ...]
"""What an object's user has declared: where it changes, what is on hold is tried at once."""


@dataclass(slots=True)
class _Failing:
    """What fails of one object."""

    state: State
    failed_writes: dict[Ref, FailedWrite] = field(default_factory=dict)
    attempt: object = field(default=None, repr=False)
    unsure_time: datetime | None = None
    """When a write last ended without an answer: it may have been carried out, or still be."""
    pause: timedelta = timedelta()
    """The last one."""
    woken_time: datetime = EARLIEST
    """When a pause of it was last cut short, because another object had recovered."""


class WriteRetries:
    """By the object whose plan the writes belong to. It is memory of one term of leadership, and may be lost."""

    def __init__(self, its: ObjectBackoff | None = None) -> None:
        self._pauses = its or ObjectBackoff()
        self._failing: dict[Ref, _Failing] = {}
        self._waiting = WaitingObjects()

    def clear(self) -> None:
        self._failing.clear()
        self._waiting.clear()
        self._pauses.clear()

    def on_hold(self, key: Ref, state: State, now: datetime) -> tuple[FailedWrite, ...]:
        """What is not to be tried again yet; nothing where the user has changed the object meanwhile."""
        failing = self._failing.get(key)
        if failing is None or failing.state != state:
            return ()
        # Further ahead than any pause is long: the clock was set back meanwhile.
        latest = now + timedelta(seconds=2 * object_backoff.MAX_PAUSE_SECONDS)
        return tuple(s for s in failing.failed_writes.values() if now < s.retry_time < latest)

    def retry_time(self, key: Ref) -> datetime | None:
        """When what failed of this object is tried again; None where nothing did."""
        failing = self._failing.get(key)
        return min((s.retry_time for s in failing.failed_writes.values()), default=None) if failing else None

    def attempt(self, key: Ref) -> object:
        """The credential or key that the last attempt was to hand out; None where there is none."""
        failing = self._failing.get(key)
        return failing.attempt if failing else None

    def unsure_time(self, key: Ref) -> datetime | None:
        """When a write of this object last ended without an answer; None where all were answered."""
        failing = self._failing.get(key)
        return failing.unsure_time if failing else None

    def begins(self, key: Ref, attempt: object, state: State) -> None:
        """Writes begin that hand this out: it is kept, whatever becomes of them."""
        self._failing.setdefault(key, _Failing(state)).attempt = attempt

    def handed_out(self, key: Ref) -> None:
        """The writes that hand out the attempt have all succeeded."""
        if failing := self._failing.get(key):
            failing.attempt = None
            self._tidy(key, failing)

    def failed(self, key: Ref, write: Write, error: Rejected | Unavailable, state: State, now: datetime) -> FailedWrite:
        failing = self._failing.setdefault(key, _Failing(state))
        failing.state = state
        failing.unsure_time = failing.unsure_time if changed_nothing(error) else now
        ref = target_of(write)
        pause = self._pauses.failed(key, error.retry_after if isinstance(error, Unavailable) else 0.0)
        failing.pause = timedelta(seconds=pause)
        known = failing.failed_writes.get(ref)
        failed_write = FailedWrite(
            ref, error.reason, f"{ref}: {error.message}", now + failing.pause,
            needs_user=isinstance(error, Rejected), attempts=known.attempts + 1 if known else 1,
        )  # fmt: skip
        if known and known.reason == failed_write.reason and _gist(known.message) == _gist(failed_write.message):
            # What the server says may differ a little each time; a status that follows it is a write for each attempt.
            failed_write = replace(failed_write, message=known.message)
        failing.failed_writes[ref] = failed_write
        # What fails of one object is tried again together.
        failing.failed_writes = {
            at: replace(s, retry_time=failed_write.retry_time) for at, s in failing.failed_writes.items()
        }
        self._waiting.put(key, causes(failing.failed_writes.values()))
        _log_failure(key, failed_write, pause)
        return failed_write

    def succeeded(self, key: Ref, ref: Ref, now: datetime) -> set[Ref]:
        """The objects to try at once, because what they wait for may have gone as well: the longest waiting ones of
        its namespace, and of all namespaces where they share the cause. None has its pauses cut short twice within the
        length of one.
        """
        failing = self._failing.get(key)
        failed_write = failing.failed_writes.pop(ref, None) if failing else None
        if failing is None or failed_write is None:
            return set()
        self._tidy(key, failing)
        alike = self._waiting.longest(causes((failed_write,)), MAX_WOKEN)
        return set(islice((other for other in alike if self._wakes(other, now)), MAX_WOKEN))

    def _wakes(self, key: Ref, now: datetime) -> bool:
        """Whether the object is to be tried at once."""
        failing = self._failing[key]
        if failing.woken_time <= now < failing.woken_time + failing.pause:
            return False
        failing.woken_time = now
        failing.failed_writes = {at: replace(s, retry_time=EARLIEST) for at, s in failing.failed_writes.items()}
        self._waiting.woken(key)
        return True

    def settled(self, key: Ref, held: tuple[FailedWrite, ...]) -> None:
        """Keep only the failed writes of these objects: nothing needs the others any more."""
        failing = self._failing.get(key)
        if failing is None:
            return
        refs = {s.ref for s in held}
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
    """Which object, and who refuses it: what comes before the API server's own words."""
    return message.partition(": ")[2].partition(": ")[0]


def _log_failure(key: Ref, failed_write: FailedWrite, pause: float) -> None:
    """One log line for the first failures, then fewer and fewer; none for a namespace that is being deleted."""
    worth_it = (
        failed_write.attempts & (failed_write.attempts - 1) == 0 and failed_write.reason != "NamespaceTerminating"
    )
    level = logging.WARNING if worth_it else logging.DEBUG
    log.log(
        level, "%s: %s; attempt %d, tried again in %.1f s", key, failed_write.message, failed_write.attempts, pause,
        extra=about(key, object=str(failed_write.ref), reason=failed_write.reason, again_in=round(pause, 1)),
    )  # fmt: skip
