"""A plan: what to write, in this order, what to say, and when to look again. It is data, and doing it is elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from scopewright.api.meta import MAX_HISTORY, MAX_HISTORY_MESSAGE, Condition, HistoryEntry, Model
from scopewright.core.failures import Rejected
from scopewright.core.objects import Write


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened once: an event, and a line of the object's history."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`writes` come in this order, each only after the one before succeeded; then everything is planned anew.

    A plan without writes has the status (camelCase, as it belongs into the object; None leaves it alone). `due` is
    when time alone changes the plan. `attempt` is the credential or key that the writes bring into use: the next plan
    gets it back where they fail, so that a retry makes no other one.
    """

    writes: tuple[Write, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[Event, ...] = ()
    due: datetime | None = None
    attempt: object = field(default=None, repr=False)


NOTHING: Final = Plan()


@dataclass(frozen=True, slots=True)
class ConditionUpdate:
    """What a condition says now. What is `passing` is no news, unless all was well before."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    passing: bool = False


def ready(reason: str, message: str) -> tuple[ConditionUpdate, ...]:
    return (ConditionUpdate("Ready", "True", reason, message),)


def waiting(reason: str, message: str) -> tuple[ConditionUpdate, ...]:
    """Not ready, and time or another object will help."""
    return (ConditionUpdate("Ready", "False", reason, message, passing=True),)


def stalled(why: Rejected) -> tuple[ConditionUpdate, ...]:
    """Not ready, and only the user can help: kstatus and Argo CD then say failed instead of waiting for ever."""
    return (
        ConditionUpdate("Ready", "False", why.reason, why.message),
        ConditionUpdate("Stalled", "True", why.reason, why.message),
    )


def merge_conditions(
    said: Iterable[ConditionUpdate], previous: Sequence[Condition], generation: int | None, now: datetime
) -> tuple[list[Condition], tuple[Event, ...]]:
    """The conditions, each with the time of its last change of status, and the changes that are worth an event."""
    before = {c.type: c for c in previous}
    conditions: list[Condition] = []
    changes: list[Event] = []
    for s in said:
        old = before.get(s.type)
        same = old is not None and old.status == s.status
        conditions.append(
            Condition(
                type=s.type,
                status=s.status,
                reason=s.reason,
                message=s.message,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and same else now.replace(microsecond=0),
            )
        )
        if _worth_telling(s, old):
            changes.append(Event(s.reason, s.message, warning=s.status == "False" or s.type == "SecretAltered"))
    return conditions, tuple(changes)


def _worth_telling(said: ConditionUpdate, old: Condition | None) -> bool:
    if said.type == "Stalled":
        return False
    if said.type in ("Paused", "SecretAltered"):
        return old is None
    was = old.status if old else "Unknown"
    if said.status == "True":
        return was == "False"
    if said.passing and was != "True":
        return False
    return old is None or (was, old.reason) != (said.status, said.reason)


def append_history(previous: Sequence[HistoryEntry], events: Iterable[Event], now: datetime) -> list[HistoryEntry]:
    """The last ten things that happened, oldest first."""
    time = now.replace(microsecond=0)
    new = [HistoryEntry(time=time, reason=h.reason, message=h.message[:MAX_HISTORY_MESSAGE]) for h in events]
    return [*previous, *new][-MAX_HISTORY:]


def as_json(status: Model) -> dict[str, Any]:
    return status.to_dict()


def soonest(*instants: datetime | None) -> datetime | None:
    return min((i for i in instants if i is not None), default=None)


ROTATION_FAILING: Final = "RotationFailing"


def rotation_failing(reason: str, message: str) -> ConditionUpdate:
    """The condition while a rotation that is due cannot be written; otherwise an object does not have it."""
    return ConditionUpdate(ROTATION_FAILING, "True", reason, message, passing=True)


def rotation_events(said: Iterable[ConditionUpdate], previous: Sequence[Condition]) -> tuple[Event, ...]:
    """One event when rotations begin to fail, or fail for another reason, and one when they no longer do."""
    now = next((s for s in said if s.type == ROTATION_FAILING), None)
    before = next((c for c in previous if c.type == ROTATION_FAILING and c.status == "True"), None)
    if now and (before is None or before.reason != now.reason):
        return (Event(ROTATION_FAILING, f"{now.reason}: {now.message}", warning=True),)
    if before and not now:
        since = f"{before.last_transition_time:%FT%TZ}" if before.last_transition_time else "some time ago"
        return (Event("RotationRecovered", f"no rotation fails any more; the first failure was at {since}"),)
    return ()
