"""Alerts name objects with problems; the many of one namespace do not hide named of another."""

import pytest

from scopewright.controller.object_backoff import ObjectBackoff
from scopewright.controller.object_problems import (
    MAX_NAMED,
    AffectedObject,
    ObjectProblem,
    find_problems,
    metrics,
    select_named,
)
from scopewright.controller.overdue import overdue_clients
from scopewright.core.objects import Ref
from tests.harness.operator import OperatorHarness

WORKER = Ref("OAuthClient", "leave", "worker")


def problems(harness: OperatorHarness, *failing: Ref) -> list[AffectedObject]:
    return list(
        find_problems(harness.cache, failing, overdue_clients(harness.cache, harness.config, harness.clock.now))
    )


def test_a_ready_object_has_no_problem_and_one_without_a_status_is_pending() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker")
    harness.resync()
    assert problems(harness) == [AffectedObject(WORKER, ObjectProblem.NOT_READY, "Pending")]
    harness.settle()
    harness.resync()
    assert problems(harness) == []


def test_an_object_that_is_not_ready_is_listed_with_the_reason_of_its_status() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", {"disabled": True})
    harness.settle()
    harness.resync()
    assert problems(harness) == [AffectedObject(WORKER, ObjectProblem.NOT_READY, "Disabled")]


def test_overdue_rotations_and_failing_reconciliations_are_listed_with_their_cause() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {"every": "24h", "overlap": "1h"}})
    harness.settle()
    harness.resync()
    harness.clock.advance(hours=24, seconds=1)
    assert problems(harness, WORKER) == [
        AffectedObject(WORKER, ObjectProblem.RECONCILE_FAILING),
        AffectedObject(WORKER, ObjectProblem.ROTATION_OVERDUE, "age"),
    ]
    harness.settle()
    harness.resync()
    assert problems(harness) == []


def many(namespace: str, count: int, problem: ObjectProblem = ObjectProblem.NOT_READY) -> list[AffectedObject]:
    return [AffectedObject(Ref("OAuthClient", namespace, f"c-{n:04}"), problem, "Pending") for n in range(count)]


def test_a_hundred_problems_are_named_in_turns_of_namespaces_and_the_rest_is_counted() -> None:
    named, truncated = select_named([*many("busy", 5000), *many("leave", 2), *many("payroll", 1)])
    assert len(named) == MAX_NAMED
    assert truncated == 5003 - MAX_NAMED
    assert sum(each.ref.namespace == "leave" for each in named) == 2
    assert sum(each.ref.namespace == "payroll" for each in named) == 1


def test_the_worst_problem_of_a_namespace_is_named_first_in_any_order() -> None:
    worst = AffectedObject(Ref("OAuthClient", "busy", "zzz"), ObjectProblem.RECONCILE_FAILING)
    named, truncated = select_named([*many("busy", 500), worst])
    assert named[0] == worst
    assert select_named(reversed([*many("busy", 500), worst])) == (named, truncated)


def test_few_problems_are_all_named() -> None:
    assert select_named(many("leave", 3)) == (many("leave", 3), 0)
    assert select_named([]) == ([], 0)


@pytest.mark.parametrize("count", [0, 5000])
def test_the_metric_of_problems_is_bounded(count: int) -> None:
    harness = OperatorHarness()
    failing = [each.ref for each in many("busy", count)]
    problems, truncated = metrics(harness.cache, failing, ())
    assert len(problems.samples) == min(count, MAX_NAMED)
    assert [s.value for s in truncated.samples] == [max(0, count - MAX_NAMED)]


def test_an_object_is_failing_after_three_failures() -> None:
    pauses = ObjectBackoff()
    for _ in range(2):
        pauses.failed(WORKER)
    assert not pauses.failing()
    pauses.failed(WORKER)
    assert pauses.failing() == {WORKER}
    pauses.succeeded(WORKER)
    assert not pauses.failing()
