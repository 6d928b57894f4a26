"""An alert can name the objects that need a person, and nobody's many hide another's one."""

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


def found(harness: OperatorHarness, *failing: Ref) -> list[AffectedObject]:
    return list(
        find_problems(harness.cache, failing, overdue_clients(harness.cache, harness.config, harness.clock.now))
    )


def test_what_is_well_needs_nobody_and_what_has_no_status_yet_is_pending() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker")
    harness.resync()
    assert found(harness) == [AffectedObject(WORKER, ObjectProblem.NOT_READY, "Pending")]
    harness.settle()
    harness.resync()
    assert found(harness) == []


def test_an_object_that_is_not_ready_is_named_with_the_reason_of_its_status() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", {"disabled": True})
    harness.settle()
    harness.resync()
    assert found(harness) == [AffectedObject(WORKER, ObjectProblem.NOT_READY, "Disabled")]


def test_an_overdue_rotation_is_named_with_its_cause_and_a_failing_reconciliation_too() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {"every": "24h", "overlap": "1h"}})
    harness.settle()
    harness.resync()
    harness.clock.advance(hours=24, seconds=1)
    assert found(harness, WORKER) == [
        AffectedObject(WORKER, ObjectProblem.RECONCILE_FAILING),
        AffectedObject(WORKER, ObjectProblem.ROTATION_OVERDUE, "age"),
    ]
    harness.settle()
    harness.resync()
    assert found(harness) == []


def many(namespace: str, count: int, problem: ObjectProblem = ObjectProblem.NOT_READY) -> list[AffectedObject]:
    return [AffectedObject(Ref("OAuthClient", namespace, f"c-{n:04}"), problem, "Pending") for n in range(count)]


def test_a_hundred_are_named_the_rest_is_counted_and_namespaces_take_turns() -> None:
    those, more = select_named([*many("busy", 5000), *many("leave", 2), *many("payroll", 1)])
    assert len(those) == MAX_NAMED
    assert more == 5003 - MAX_NAMED
    assert sum(each.ref.namespace == "leave" for each in those) == 2
    assert sum(each.ref.namespace == "payroll" for each in those) == 1


def test_the_worst_of_a_namespace_is_named_first_and_the_choice_is_the_same_each_time() -> None:
    worst = AffectedObject(Ref("OAuthClient", "busy", "zzz"), ObjectProblem.RECONCILE_FAILING)
    those, more = select_named([*many("busy", 500), worst])
    assert those[0] == worst
    assert select_named(reversed([*many("busy", 500), worst])) == (those, more)


def test_of_few_all_are_named() -> None:
    assert select_named(many("leave", 3)) == (many("leave", 3), 0)
    assert select_named([]) == ([], 0)


@pytest.mark.parametrize("count", [0, 5000])
def test_the_metric_has_a_bound_whatever_there_is(count: int) -> None:
    harness = OperatorHarness()
    failing = [each.ref for each in many("busy", count)]
    problems, truncated = metrics(harness.cache, failing, ())
    assert len(problems.samples) == min(count, MAX_NAMED)
    assert [s.value for s in truncated.samples] == [max(0, count - MAX_NAMED)]


def test_what_failed_once_is_not_failing_yet() -> None:
    pauses = ObjectBackoff()
    for _ in range(2):
        pauses.failed(WORKER)
    assert not pauses.failing()
    pauses.failed(WORKER)
    assert pauses.failing() == {WORKER}
    pauses.succeeded(WORKER)
    assert not pauses.failing()
