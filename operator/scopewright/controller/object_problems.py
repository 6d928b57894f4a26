"""Objects that need attention: not Ready, overdue or failing; a bounded number, so that an alert can name them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from scopewright.controller.cache import Cache
from scopewright.controller.metrics import labelled_gauge
from scopewright.core.client.credentials import Cause, CauseKind
from scopewright.core.objects import Ref
from scopewright.core.plan import ROTATION_FAILING

MAX_NAMED: Final = 100
"""Objects that the metric names; the others are only counted."""
NO_STATUS: Final = "Pending"
"""The reason of an object that has no condition Ready yet."""


class ObjectProblem(StrEnum):
    """Worst first, in the order in which they are named."""

    RECONCILE_FAILING = "ReconcileFailing"
    ROTATION_FAILING = "RotationFailing"
    ROTATION_OVERDUE = "RotationOverdue"
    NOT_READY = "NotReady"


@dataclass(frozen=True, slots=True)
class AffectedObject:
    """`reason` is that of a condition, the cause of a rotation, or empty."""

    ref: Ref
    problem: ObjectProblem
    reason: str = ""


def find_problems(
    cache: Cache, failing: Collection[Ref], overdue: Iterable[tuple[Ref, Cause]]
) -> Iterator[AffectedObject]:
    """All problems. `failing` are the keys whose reconciliation has failed several times in a row; `overdue` is the
    result of `overdue_clients`.
    """
    for ref in failing:
        yield AffectedObject(ref, ObjectProblem.RECONCILE_FAILING)
    for ref, cause in overdue:
        if cause.kind is not CauseKind.FIRST:  # it is not Ready either
            yield AffectedObject(ref, ObjectProblem.ROTATION_OVERDUE, cause.kind.value)
    for objects in cache.declared.values():
        for ref, obj in objects.items():
            conditions = {c.type: c for c in obj.status.conditions} if obj.status else {}
            ready, rotation = conditions.get("Ready"), conditions.get(ROTATION_FAILING)
            if rotation is not None and rotation.status == "True":
                yield AffectedObject(ref, ObjectProblem.ROTATION_FAILING, rotation.reason)
            if ready is None or ready.status != "True":
                yield AffectedObject(ref, ObjectProblem.NOT_READY, ready.reason if ready else NO_STATUS)


def select_named(found: Iterable[AffectedObject], most: int = MAX_NAMED) -> tuple[Sequence[AffectedObject], int]:
    """The objects to name, and the number of others. Namespaces take turns, so that one does not hide another."""
    worst = list(ObjectProblem)
    by_namespace: defaultdict[str, list[AffectedObject]] = defaultdict(list)
    for each in sorted(found, key=lambda a: (worst.index(a.problem), a.ref.kind, a.ref.name, a.reason)):
        by_namespace[each.ref.namespace].append(each)
    turns = sorted(
        ((turn, namespace, each) for namespace, those in by_namespace.items() for turn, each in enumerate(those)),
        key=lambda t: t[:2],
    )
    return [each for _, _, each in turns[:most]], max(0, len(turns) - most)


def metrics(cache: Cache, failing: Collection[Ref], overdue: Iterable[tuple[Ref, Cause]]) -> Iterator[Metric]:
    those, more = select_named(find_problems(cache, failing, overdue))
    yield labelled_gauge(
        "scopewright_object_problem",
        "1 for an object that is not Ready, whose rotation is overdue or fails, or that cannot be reconciled; "
        f"at most {MAX_NAMED}, with namespaces taking turns.",
        ("kind", "object_namespace", "object", "problem", "condition_reason"),
        (((a.ref.kind, a.ref.namespace, a.ref.name, a.problem.value, a.reason), 1) for a in those),
    )
    yield GaugeMetricFamily(
        "scopewright_object_problems_truncated",
        "Problems of objects that scopewright_object_problem omits.",
        more,
    )
