"""The operator crashes, or a write fails, at each write of a scenario. It converges, and locks no client out.

`OperatorHarness` checks invariants after each write. Each scenario runs once for each way to fail.
"""

from collections.abc import Callable

import pytest

from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import SEAL_ANNOTATION, digest
from tests.harness.memory_store import Crash, Point
from tests.harness.operator import OperatorHarness, run_sync
from tests.unit.controller.crash_scenarios import (
    ASKS,
    SCENARIOS,
    WORKER,
    Scenario,
    accepted,
    advance_a_month,
    assert_ready,
    assert_record_deleted,
    assert_resealed,
    assert_rotated,
    recreate_paused,
    replace_seal_key,
    request_rotation,
    with_client,
    with_renamed_secret,
)


def run_scenario(scenario: Scenario, error: Callable[[], BaseException], at: int, point: Point) -> int:
    """Run the scenario with an error at one write. Returns how many writes there were in all."""
    harness = scenario.begin()
    before = len(harness.store.writes)
    scenario.act(harness)
    harness.store.fail(error(), at, point)
    try:
        harness.settle()
    except Crash:
        harness.restart()
    harness.store.failures.clear()
    # A restart takes some time.
    harness.clock.advance(seconds=1)
    harness.settle()
    scenario.end(harness)
    done = len(harness.store.writes)
    harness.settle()
    assert len(harness.store.writes) == done, "a settled operator has written"
    return len(harness.store.writes) - before


@pytest.mark.parametrize("point", ["before", "after"])
@pytest.mark.parametrize("error", ["crash", "conflict", "unavailable"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_converges_from_a_failure_at_each_write(name: str, error: str, point: Point) -> None:
    errors: dict[str, Callable[[], BaseException]] = {
        "crash": Crash,
        "conflict": lambda: Conflict("changed meanwhile"),
        "unavailable": lambda: Unavailable("no answer in time"),
    }
    at = 0
    while at < run_scenario(SCENARIOS[name], errors[error], at, point):
        at += 1
    assert at


def test_a_client_is_sealed_with_the_new_key_once_it_is_no_longer_paused() -> None:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", ASKS, paused="true")
    replace_seal_key(harness)
    harness.settle()
    before = harness.store.objects[harness.secret_ref()].existing.annotations[SEAL_ANNOTATION]
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    harness.settle()
    assert harness.store.objects[harness.secret_ref()].existing.annotations[SEAL_ANNOTATION] != before
    assert_resealed(harness)


def test_a_secret_with_entries_of_others_is_not_sealed_with_the_new_key() -> None:
    """A seal shows that the operator wrote the entries. A user could copy a wrong one to the Secret that is in use."""
    harness = with_renamed_secret()
    stored = harness.store.objects[harness.secret_ref()]
    harness.store.put(stored.existing, {**stored.entries, "chosen": b"by a user"})
    replace_seal_key(harness)
    harness.settle()
    assert harness.store.objects[harness.secret_ref()].existing.annotations == stored.existing.annotations


def test_a_paused_client_keeps_its_own_record() -> None:
    harness = with_client()
    harness.apply("OAuthClient", "leave", "worker", {**ASKS, "disabled": True}, paused="true")
    before = harness.client_record("leave", "worker")
    harness.settle()
    assert harness.client_record("leave", "worker") == before is not None


def test_the_record_of_a_paused_client_stays_until_its_deletion_is_proven() -> None:
    """The record has another UID than the object in the cache: its object was deleted, or the cache is behind."""
    harness = with_client()
    recreate_paused(harness)
    harness.store.unconfirmed.add(WORKER)
    assert not harness.reconcile_all()
    assert harness.client_record("leave", "worker")
    harness.store.unconfirmed.clear()
    harness.settle()
    assert_record_deleted(harness)

    harness = with_client()
    recreate_paused(harness)
    harness.resync()
    record = harness.client_record("leave", "worker")
    assert record
    harness.store.declared[WORKER]["metadata"]["uid"] = record.uid
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.client_record("leave", "worker") == record


def test_a_rotation_converges_after_two_crashes() -> None:
    for first in range(4):
        for second in range(4):
            harness = with_client()
            advance_a_month(harness)
            for at in (first, second):
                harness.store.fail(Crash(), at)
                try:
                    harness.settle()
                except Crash:
                    harness.restart()
                harness.clock.advance(seconds=70)
            harness.settle()
            assert_rotated(harness)


def test_a_client_is_provisioned_within_a_minute_after_the_store_recovers() -> None:
    """However often the write of the Secret has failed before."""
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", ASKS)
    for _ in range(8):
        harness.store.fail(Unavailable("no answer in time"), at=1)
        harness.reconcile_all()
        harness.store.failures.clear()
        harness.clock.advance(seconds=2)
    harness.clock.advance(seconds=61)
    harness.settle()
    assert_ready(harness)


def test_the_mounted_credential_outlives_any_number_of_failed_writes() -> None:
    """A deleted Secret cannot be written for four hours, and Pods still have the credential mounted."""
    harness = with_client()
    harness.store.delete_by_hand(harness.secret_ref())
    for _ in range(80):
        harness.store.fail(Unavailable("no answer in time"), at=1)
        harness.reconcile_all()
        harness.store.failures.clear()
        harness.clock.advance(minutes=3)
        assert digest("secret1") in accepted(harness)


def test_a_failed_rotation_leaves_the_old_credential_working() -> None:
    harness = with_client()
    request_rotation(harness)
    harness.store.fail(Unavailable("no answer in time"), at=1)
    harness.reconcile_all()
    assert harness.client_secret() == "secret1"
    assert_ready(harness)
