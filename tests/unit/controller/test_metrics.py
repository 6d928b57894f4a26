"""Metrics of the operator: states of keys and objects, overdue rotations, latencies."""

from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from scopewright.api.meta import ObjectMeta, without_managed_fields
from scopewright.controller.metrics import OperatorMetrics
from scopewright.controller.state_metrics import GaugeSources, StateMetrics
from scopewright.core.declared import parse_declared
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import ROTATE_ANNOTATION, Ref
from scopewright.core.records.names import key_record_name
from tests.harness.clock import START
from tests.harness.operator import OperatorHarness
from tests.harness.samples import NAMESPACE

NOTHING = GaugeSources(lambda: False, lambda: 0, lambda: 0.0, dict, lambda kind: None, lambda: 1.0, lambda: 2)
WORKER = Ref("OAuthClient", "leave", "worker")


class Scraped:
    """The metrics that a scrape of this harness returns."""

    def __init__(self, harness: OperatorHarness, sources: GaugeSources = NOTHING) -> None:
        registry = CollectorRegistry()
        registry.register(StateMetrics(harness.cache, harness.config, lambda: harness.clock.now, sources))
        self.samples = [s for family in registry.collect() for s in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """The only sample with these labels; None where there is none."""
        found = [
            s.value for s in self.samples if s.name == f"scopewright_{name}" and labels.items() <= s.labels.items()
        ]
        assert len(found) <= 1, found
        return found[0] if found else None


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    return harness


def test_a_signing_key_reports_the_state_of_its_keys_and_the_next_rotation(harness: OperatorHarness) -> None:
    scraped = Scraped(harness)
    [record] = harness.key_records()
    assert record.signing_start_time
    assert record.signing_end_time
    assert record.verification_end_time
    key = {"signing_key": "default", "kid": record.kid}
    assert scraped("signing_keys", signing_key="default", state="Active") == 1
    assert scraped("signing_keys", signing_key="default", state="Pending") == 0
    assert scraped("signing_key_activation_timestamp_seconds", **key) == record.signing_start_time.timestamp()
    assert scraped("signing_key_retirement_timestamp_seconds", **key) == record.signing_end_time.timestamp()
    assert scraped("signing_key_removal_timestamp_seconds", **key) == record.verification_end_time.timestamp()
    assert scraped("signing_key_signs_until_timestamp_seconds") == record.signing_end_time.timestamp()
    due = scraped("signing_key_next_rotation_timestamp_seconds")
    assert due
    assert START.timestamp() < due < record.signing_end_time.timestamp()
    harness.clock.now = START + timedelta(seconds=due - START.timestamp() + 1)
    harness.settle()
    after = Scraped(harness)
    assert after("signing_keys", state="Pending") == 1
    later = after("signing_key_next_rotation_timestamp_seconds")
    assert later
    assert later > harness.clock.now.timestamp()
    assert after("records", kind="signing_key") == 2


def test_an_overdue_key_rotation_keeps_its_timestamp_and_a_deleted_signing_key_has_none(
    harness: OperatorHarness,
) -> None:
    due = Scraped(harness)("signing_key_next_rotation_timestamp_seconds")
    harness.clock.advance(days=31)
    assert Scraped(harness)("signing_key_next_rotation_timestamp_seconds") == due
    assert due
    assert due < harness.clock.now.timestamp()
    harness.delete(Ref("SigningKey", NAMESPACE, "default"), collect=False)
    harness.resync()
    scraped = Scraped(harness)
    assert scraped("signing_key_next_rotation_timestamp_seconds") is None
    assert scraped("signing_keys", state="Active") == 1


def test_a_signing_key_reports_whether_it_is_declared_and_used_and_made_up_names_add_no_label(
    harness: OperatorHarness,
) -> None:
    def gauges(name: str) -> tuple[float | None, float | None]:
        scraped = Scraped(harness)
        declared = scraped("signing_key_declared", signing_key=name)
        return declared, scraped("signing_key_resource_servers", signing_key=name)

    assert gauges("default") == (1, 0)
    harness.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    harness.apply(
        "ResourceServer", "payroll", "strange", {"scopes": [{"name": "r"}], "tokens": {"signingKey": "made-up"}}
    )
    harness.settle()
    harness.resync()
    assert gauges("default") == (1, 1)
    assert gauges("made-up") == (None, None)
    harness.delete(Ref("SigningKey", NAMESPACE, "default"), collect=False)
    harness.resync()
    assert gauges("default") == (0, 1)
    for record in harness.key_records():
        del harness.store.objects[Ref("Secret", NAMESPACE, key_record_name(record.kid))]
    harness.restart()
    assert gauges("default") == (0, 1), "also without its last key"
    assert Scraped(harness)("signing_keys", signing_key="default", state="Active") == 0


@pytest.mark.parametrize("windows", [[], [{"start": "11:30", "duration": "2h", "timeZone": "Mars/Base"}]])
def test_a_credential_is_overdue_from_its_due_time_until_it_is_rotated(
    harness: OperatorHarness, windows: list[dict[str, str]]
) -> None:
    """Also where its windows never open, because their time zone is unknown."""
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {"every": "24h", "overlap": "1h", "windows": windows}})
    harness.settle()
    assert Scraped(harness)("credential_rotations_overdue", cause="age") == 0
    harness.clock.advance(hours=24, seconds=1)
    assert Scraped(harness)("credential_rotations_overdue", cause="age") == 1
    harness.settle()
    harness.resync()
    assert Scraped(harness)("credential_rotations_overdue", cause="age") == 0


@pytest.mark.parametrize(
    "more",
    [{"disabled": True}, {"rotation": {"every": "24h", "overlap": "1h", "suspend": True}}],
    ids=["disabled", "suspended"],
)
def test_disabled_and_suspended_clients_are_never_overdue(harness: OperatorHarness, more: dict[str, Any]) -> None:
    spec = {"rotation": {"every": "24h", "overlap": "1h"}}
    harness.apply("OAuthClient", "leave", "worker", spec)
    harness.settle()
    harness.apply("OAuthClient", "leave", "worker", spec | more)
    for _ in range(2):
        harness.settle()
        harness.resync()
        harness.clock.advance(hours=24, seconds=1)
    assert Scraped(harness)("credential_rotations_overdue", cause="age") == 0


def test_objects_are_counted_by_condition_and_without_a_status_ready_is_unknown(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker")
    harness.resync()
    assert Scraped(harness)("conditions", kind="OAuthClient", type="Ready", status="Unknown") == 1
    harness.settle()
    harness.apply("OAuthClient", "leave", "off", {"disabled": True})
    harness.settle()
    harness.resync()
    scraped = Scraped(harness)
    assert scraped("conditions", kind="OAuthClient", type="Ready", status="True") == 1
    assert scraped("conditions", kind="OAuthClient", type="Stalled", status="True") == 1
    assert scraped("conditions", kind="OAuthClient", type="Ready", status="Unknown") == 0
    assert scraped("records", kind="client") == 2


def test_gauges_report_the_values_of_their_sources(harness: OperatorHarness) -> None:
    last_event = {"Secret": 12.5}
    scraped = Scraped(
        harness,
        GaugeSources(
            lambda: True, lambda: 3, lambda: 4.0, lambda: {"leave": 3, "hr": 2}, last_event.get, lambda: 6.0, lambda: 2
        ),
    )
    assert [scraped(n) for n in ("leader", "queue_depth", "watch_overdue_seconds", "orphans_held")] == [1, 3, 4, 5]
    assert scraped("orphans_held_by_namespace", owner_namespace="leave") == 3
    assert scraped("watch_heard_timestamp_seconds", kind="Secret") == 12.5
    assert scraped("watch_heard_timestamp_seconds", kind="ConfigMap") is None


def test_twenty_namespaces_with_held_records_are_named(harness: OperatorHarness) -> None:
    held = {f"team-{n:02}": 21 + n for n in range(30)}
    scraped = Scraped(
        harness,
        GaugeSources(lambda: True, lambda: 0, lambda: 0.0, lambda: held, lambda kind: None, lambda: 1.0, lambda: 2),
    )
    named = {s.labels["owner_namespace"] for s in scraped.samples if s.name.endswith("_held_by_namespace")}
    assert named == {f"team-{n:02}" for n in range(10, 30)}
    assert scraped("orphans_held") == sum(held.values())


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (Unavailable("x"), "unavailable"),
        (Conflict("x"), "conflict"),
        (Rejected("X", "x"), "rejected"),
        (RuntimeError(), "unexpected"),
        (NotLeading(), None),
    ],
)
def test_failed_reconciliations_are_counted_by_reason_without_lost_leadership(
    error: Exception, counted: str | None
) -> None:
    metrics = OperatorMetrics()
    with pytest.raises(type(error)), metrics.reconciling("OAuthClient"):
        raise error
    [family] = metrics.failed.collect()
    found = {s.labels["reason"] for s in family.samples if s.value and s.name.endswith("_total")}
    assert found == ({counted} if counted else set())


# Latency from apply to Ready


def apply_at(harness: OperatorHarness, name: str, spec: dict[str, Any], at: str) -> None:
    """Apply an OAuthClient with the managedFields of the API server: kubectl has changed it at this instant."""
    meta = {"namespace": "leave", "name": name, "managedFields": [{"manager": "kubectl", "time": at}]}
    harness.store.apply({"kind": "OAuthClient", "metadata": meta, "spec": spec})


def ready_latencies(harness: OperatorHarness) -> list[tuple[str, int]]:
    return [(kind, round(seconds)) for kind, seconds in harness.ready_latencies]


def test_the_ready_latency_of_each_generation_is_observed_once(harness: OperatorHarness) -> None:
    apply_at(harness, "worker", {}, "2026-11-22T11:59:50Z")
    harness.settle()
    assert ready_latencies(harness) == [("OAuthClient", 10)]
    harness.settle()
    harness.store.declared[WORKER]["metadata"]["annotations"] = {ROTATE_ANNOTATION: "now"}
    harness.settle()
    assert len(harness.ready_latencies) == 1
    harness.clock.advance(minutes=1)
    apply_at(harness, "worker", {"rotation": {"every": "48h"}}, "2026-11-22T12:00:57Z")
    harness.settle()
    assert ready_latencies(harness)[1:] == [("OAuthClient", 3)]


def test_the_ready_latency_of_a_stalled_object_counts_from_its_next_change(harness: OperatorHarness) -> None:
    apply_at(harness, "worker", {"disabled": True}, "2026-11-22T12:00:00Z")
    harness.settle()
    harness.clock.advance(days=3)
    apply_at(harness, "worker", {"disabled": False}, "2026-11-25T11:59:58Z")
    harness.settle()
    assert ready_latencies(harness) == [("OAuthClient", 2)]


def test_objects_that_were_ready_before_the_process_started_have_no_ready_latency(harness: OperatorHarness) -> None:
    apply_at(harness, "worker", {}, "2026-11-22T11:59:50Z")
    harness.settle()
    harness.restart()
    harness.ready_latencies.clear()
    harness.settle()
    assert harness.ready_latencies == []


def test_the_applied_time_is_read_from_managed_fields_without_the_status() -> None:
    managed = [
        {"manager": "helm", "time": "2026-11-22T12:00:00Z"},
        {"manager": "kubectl", "time": "2026-11-22T13:00:00Z"},
        {"manager": "scopewright", "subresource": "status", "time": "2026-11-22T14:00:00Z"},
        {"manager": "ancient"},
    ]
    meta = ObjectMeta.model_validate({"name": "a", "managedFields": managed})
    assert meta.applied_time == START + timedelta(hours=1)
    assert "appliedTime" not in meta.to_dict()
    trimmed = without_managed_fields({"name": "a", "managedFields": managed})
    assert "managedFields" not in trimmed
    assert ObjectMeta.model_validate(trimmed) == meta
    created = {"name": "a", "managedFields": None, "creationTimestamp": "2026-11-22T12:00:00Z"}
    assert ObjectMeta.model_validate(created).applied_time == START
    assert ObjectMeta.model_validate(without_managed_fields(created)).applied_time == START
    raw = {"kind": "OAuthClient", "metadata": {"name": "a", "managedFields": managed}, "spec": {}}
    assert parse_declared(raw).metadata.applied_time == START + timedelta(hours=1)
