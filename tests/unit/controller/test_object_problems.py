"""An alert can name the objects that need a person, and nobody's many hide another's one."""

from datetime import timedelta

import pytest

from scopewright.controller.object_backoff import Pauses
from scopewright.controller.object_problems import MOST_NAMED, Attention, Problem, metrics, named, needing_attention
from scopewright.controller.overdue import overdue_clients
from scopewright.core.objects import Ref
from tests.unit.controller.house import House

WORKER = Ref("OAuthClient", "leave", "worker")


def found(house: House, *failing: Ref) -> list[Attention]:
    return list(needing_attention(house.world, failing, overdue_clients(house.world, house.config, house.now)))


def test_what_is_well_needs_nobody_and_what_has_no_status_yet_is_pending() -> None:
    house = House()
    house.apply("OAuthClient", "leave", "worker")
    house.look()
    assert found(house) == [Attention(WORKER, Problem.NOT_READY, "Pending")]
    house.settle()
    house.look()
    assert found(house) == []


def test_an_object_that_is_not_ready_is_named_with_the_reason_of_its_status() -> None:
    house = House()
    house.apply("OAuthClient", "leave", "worker", {"disabled": True})
    house.settle()
    house.look()
    assert found(house) == [Attention(WORKER, Problem.NOT_READY, "Disabled")]


def test_an_overdue_rotation_is_named_with_its_cause_and_a_failing_reconciliation_too() -> None:
    house = House()
    house.apply("OAuthClient", "leave", "worker", {"rotation": {"every": "24h", "overlap": "1h"}})
    house.settle()
    house.look()
    house.pass_time(timedelta(hours=24, seconds=1))
    assert found(house, WORKER) == [
        Attention(WORKER, Problem.RECONCILE_FAILING),
        Attention(WORKER, Problem.ROTATION_OVERDUE, "age"),
    ]
    house.settle()
    house.look()
    assert found(house) == []


def many(namespace: str, count: int, problem: Problem = Problem.NOT_READY) -> list[Attention]:
    return [Attention(Ref("OAuthClient", namespace, f"c-{n:04}"), problem, "Pending") for n in range(count)]


def test_a_hundred_are_named_the_rest_is_counted_and_namespaces_take_turns() -> None:
    those, more = named([*many("busy", 5000), *many("leave", 2), *many("payroll", 1)])
    assert len(those) == MOST_NAMED
    assert more == 5003 - MOST_NAMED
    assert sum(each.ref.namespace == "leave" for each in those) == 2
    assert sum(each.ref.namespace == "payroll" for each in those) == 1


def test_the_worst_of_a_namespace_is_named_first_and_the_choice_is_the_same_each_time() -> None:
    worst = Attention(Ref("OAuthClient", "busy", "zzz"), Problem.RECONCILE_FAILING)
    those, more = named([*many("busy", 500), worst])
    assert those[0] == worst
    assert named(reversed([*many("busy", 500), worst])) == (those, more)


def test_of_few_all_are_named() -> None:
    assert named(many("leave", 3)) == (many("leave", 3), 0)
    assert named([]) == ([], 0)


@pytest.mark.parametrize("count", [0, 5000])
def test_the_metric_has_a_bound_whatever_there_is(count: int) -> None:
    house = House()
    failing = [each.ref for each in many("busy", count)]
    problems, truncated = metrics(house.world, failing, ())
    assert len(problems.samples) == min(count, MOST_NAMED)
    assert [s.value for s in truncated.samples] == [max(0, count - MOST_NAMED)]


def test_what_failed_once_is_not_failing_yet() -> None:
    pauses = Pauses()
    for _ in range(2):
        pauses.failed(WORKER)
    assert not pauses.failing()
    pauses.failed(WORKER)
    assert pauses.failing() == {WORKER}
    pauses.succeeded(WORKER)
    assert not pauses.failing()
