"""Plans: writes in order, the status, events, and the time of the next plan. The controller carries them out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from scopewright.api.meta import MAX_HISTORY, MAX_HISTORY_MESSAGE, Condition, HistoryEntry, Kind, Status
from scopewright.core.failures import Rejected
from scopewright.core.objects import Write


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an object, which its history lists too."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """`writes` are carried out in order, each only after the one before succeeded; then the object is planned again.

    A plan without writes has the status in its JSON form; None leaves it unchanged. `due` is when time alone changes
    the plan. `attempt` is the credential or key that the writes bring into use. If they fail, the next plan gets it
    back, so that a retry does not generate another one.
    """

    writes: tuple[Write, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[Event, ...] = ()
    due: datetime | None = None
    attempt: object = field(default=None, repr=False)


NOTHING: Final = Plan()


@dataclass(frozen=True, slots=True)
class ConditionUpdate:
    """New state of one condition. A `transient` one deserves an event only if the condition was True before."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    transient: bool = False


def ready(reason: str, message: str) -> tuple[ConditionUpdate, ...]:
    return (ConditionUpdate("Ready", "True", reason, message),)


def waiting(reason: str, message: str) -> tuple[ConditionUpdate, ...]:
    """Not ready until some time passes, or another object changes."""
    return (ConditionUpdate("Ready", "False", reason, message, transient=True),)


def stalled(why: Rejected) -> tuple[ConditionUpdate, ...]:
    """Not ready until the user acts: kstatus and Argo CD report a failure instead of waiting."""
    return (
        ConditionUpdate("Ready", "False", why.reason, why.message),
        ConditionUpdate("Stalled", "True", why.reason, why.message),
    )


def merge_conditions(
    updates: Iterable[ConditionUpdate], previous: Sequence[Condition], generation: int | None, now: datetime
) -> tuple[list[Condition], tuple[Event, ...]]:
    """Return the conditions, each with the time of its last change of status, and an event for each notable change."""
    before = {c.type: c for c in previous}
    conditions: list[Condition] = []
    events: list[Event] = []
    for update in updates:
        old = before.get(update.type)
        same = old is not None and old.status == update.status
        conditions.append(
            Condition(
                type=update.type,
                status=update.status,
                reason=update.reason,
                message=update.message,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and same else now.replace(microsecond=0),
            )
        )
        if _deserves_event(update, old):
            warning = update.status == "False" or update.type == "SecretAltered"
            events.append(Event(update.reason, update.message, warning=warning))
    return conditions, tuple(events)


def _deserves_event(update: ConditionUpdate, old: Condition | None) -> bool:
    if update.type == "Stalled":
        return False
    if update.type in ("Paused", "SecretAltered"):
        return old is None
    was = old.status if old else "Unknown"
    if update.status == "True":
        return was == "False"
    if update.transient and was != "True":
        return False
    return old is None or (was, old.reason) != (update.status, update.reason)


def status_plan(
    status_type: type[Status],
    obj: Kind,
    updates: Iterable[ConditionUpdate],
    pending: Iterable[Event],
    now: datetime,
    *,
    rotation: bool = False,
    due: datetime | None = None,
    **fields: Any,
) -> Plan:
    """Return the plan that writes the status of `obj`: `fields`, the merged conditions and the history.

    `pending` are earlier events that no status lists yet. With `rotation`, events report that rotations fail or succeed
    again.
    """
    updates, previous, generation = tuple(updates), obj.status or Status(), obj.metadata.generation
    conditions, events = merge_conditions(updates, previous.conditions, generation, now)
    if rotation:
        events = (*events, *rotation_events(updates, previous.conditions))
    history = append_history(previous.history, (*pending, *events), now)
    status = status_type(observed_generation=generation, history=history, conditions=conditions, **fields)
    return Plan(status=status.to_dict(), events=events, due=due)


def append_history(previous: Sequence[HistoryEntry], events: Iterable[Event], now: datetime) -> list[HistoryEntry]:
    """Return the last ten entries of the history, oldest first."""
    time = now.replace(microsecond=0)
    new = [HistoryEntry(time=time, reason=e.reason, message=e.message[:MAX_HISTORY_MESSAGE]) for e in events]
    return [*previous, *new][-MAX_HISTORY:]


def soonest(*instants: datetime | None) -> datetime | None:
    return min((i for i in instants if i is not None), default=None)


ROTATION_FAILING: Final = "RotationFailing"


def rotation_failing(reason: str, message: str) -> ConditionUpdate:
    """The condition of an object whose rotation is due and cannot be written. Other objects do not have it."""
    return ConditionUpdate(ROTATION_FAILING, "True", reason, message, transient=True)


def rotation_events(updates: Iterable[ConditionUpdate], previous: Sequence[Condition]) -> tuple[Event, ...]:
    """Return an event when rotations begin to fail, when the reason changes, and when they succeed again."""
    now = next((u for u in updates if u.type == ROTATION_FAILING), None)
    before = next((c for c in previous if c.type == ROTATION_FAILING and c.status == "True"), None)
    if now and (before is None or before.reason != now.reason):
        return (Event(ROTATION_FAILING, f"{now.reason}: {now.message}", warning=True),)
    if before and not now:
        since = f"{before.last_transition_time:%FT%TZ}" if before.last_transition_time else "an unknown time"
        return (Event("RotationRecovered", f"rotations succeed again; the first failure was at {since}"),)
    return ()
