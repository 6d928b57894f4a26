"""Objects of an issuer that no installation serves: the resync reports them."""

import logging
from typing import Any

import pytest

from scopewright.controller.unserved_issuers import MAX_WRITES, UnservedIssuers
from scopewright.core.claims import Claim, Stage
from scopewright.core.failures import Conflict
from scopewright.core.objects import Ref
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import NAMESPACE

CLAIM = Claim("default", NAMESPACE, Stage.HELD)
WORKER = Ref("OAuthClient", "leave", "worker")


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", {"issuer": "prod"})
    return harness


def unserved(harness: OperatorHarness, *, leads: bool = True) -> UnservedIssuers:
    return UnservedIssuers(
        harness.store, harness.config, lambda: harness.clock.now, lambda: [CLAIM], may_write=lambda: leads
    )


def raw(harness: OperatorHarness) -> dict[str, Any]:
    return harness.store.declared[WORKER]


def test_an_object_of_an_unserved_issuer_is_reported_once(harness: OperatorHarness) -> None:
    unserved_issuers = unserved(harness)
    unserved_issuers.check(raw(harness))
    run_sync(unserved_issuers.report())
    assert harness.condition(WORKER) == "False IssuerNotServed"
    unserved_issuers.check(raw(harness))
    run_sync(unserved_issuers.report())
    assert len(harness.store.writes) == 1, "reported again"


def test_objects_with_a_status_of_another_installation_or_being_deleted_are_ignored(harness: OperatorHarness) -> None:
    """Their own installation reports them."""
    unserved_issuers = unserved(harness)
    ready = {"type": "Ready", "status": "True", "reason": "Provisioned"}
    unserved_issuers.check({**raw(harness), "status": {"conditions": [ready]}})
    unserved_issuers.check(
        {**raw(harness), "metadata": {**raw(harness)["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z"}}
    )
    unserved_issuers.check({**raw(harness), "spec": {"issuer": "prod", "rotation": "often"}})
    run_sync(unserved_issuers.report())
    assert not harness.store.writes


def test_a_replica_that_does_not_lead_reports_no_unserved_object(harness: OperatorHarness) -> None:
    unserved_issuers = unserved(harness, leads=False)
    unserved_issuers.check(raw(harness))
    run_sync(unserved_issuers.report())
    assert not harness.store.writes


def test_a_conflict_is_logged_and_left_to_the_next_resync(
    harness: OperatorHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    unserved_issuers = unserved(harness)
    unserved_issuers.check(raw(harness))
    harness.store.fail(Conflict("changed"))
    run_sync(unserved_issuers.report())
    assert "was not written: changed" in caplog.text


def test_a_resync_reports_a_bounded_number_of_unserved_objects(harness: OperatorHarness) -> None:
    unserved_issuers = unserved(harness)
    for n in range(MAX_WRITES + 50):
        harness.apply("OAuthClient", "flood", f"c{n}", {"issuer": "prod"})
        unserved_issuers.check(harness.store.declared[Ref("OAuthClient", "flood", f"c{n}")])
    run_sync(unserved_issuers.report())
    assert len(harness.store.writes) == MAX_WRITES
    for declared in list(harness.store.declared.values()):
        unserved_issuers.check(declared)
    run_sync(unserved_issuers.report())
    assert len(harness.store.writes) == MAX_WRITES + 51, "objects that were reported before count again"
