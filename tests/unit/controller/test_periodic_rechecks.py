"""A foreign Secret is not watched: it is read every few seconds, and less often where there are many conflicts."""

from datetime import timedelta

import pytest

from scopewright.controller.periodic_rechecks import READS_PER_SECOND, PeriodicRechecks
from scopewright.core.config import Config
from scopewright.core.objects import Existing, Ref
from scopewright.core.providers.secrets import PROVIDER_SECRET_TYPE
from tests.harness.clock import START
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import ISSUER, NAMESPACE

NOW = START
CONFLICT = {"conditions": [{"type": "Ready", "status": "False", "reason": "SecretConflict"}]}
OTHER = {"conditions": [{"type": "Ready", "status": "False", "reason": "NamespaceLimit"}]}
READY = {"conditions": [{"type": "Ready", "status": "True", "reason": "Provisioned"}]}


def test_a_client_recovers_within_15_seconds_after_a_foreign_secret_was_deleted() -> None:
    harness = OperatorHarness()
    ref = Ref("Secret", "leave", "worker-oauth")
    harness.store.put(Existing(ref, "u", "1", "Opaque", creation_time=harness.clock.now), {"password": b"foreign"})
    key = harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    assert harness.condition(key) == "False SecretConflict"
    due = harness.next_due[key]
    assert due - harness.clock.now <= timedelta(seconds=15)
    harness.store.objects.pop(ref)
    harness.clock.now = due
    run_sync(harness.reconciler.reconcile(key))
    assert harness.condition(key) == "True Provisioned"


@pytest.mark.parametrize("before", ["", "Opaque", PROVIDER_SECRET_TYPE])
def test_a_provider_is_in_force_within_15_seconds_after_its_secret_was_created(before: str) -> None:
    harness = OperatorHarness(Config(issuer=ISSUER, resync=timedelta(minutes=10)))
    if before:
        harness.put_secret("oidc", before, another="x")
    with_secret = {"method": "ClientSecret", "secretRef": {"name": "oidc"}}
    key = harness.apply_provider(oidc={"clientAuthentication": with_secret})
    harness.settle()
    assert harness.condition(key, "Stalled").startswith("True Secret")
    due = harness.next_due[key]
    assert due - harness.clock.now <= timedelta(seconds=15)
    harness.store.objects.pop(Ref("Secret", NAMESPACE, "oidc"), None)
    harness.put_secret("oidc", PROVIDER_SECRET_TYPE, client_secret="x")
    harness.clock.now = due
    run_sync(harness.reconciler.reconcile(key))
    assert harness.provider_record()


@pytest.mark.parametrize("before", [{}, {"another": "x"}])
def test_a_provider_is_in_force_within_15_seconds_after_its_config_map_was_created(before: dict[str, str]) -> None:
    harness = OperatorHarness(Config(issuer=ISSUER, resync=timedelta(minutes=10)))
    if before:
        harness.put_secret("ca", "", "ConfigMap", **before)
    key = harness.apply_provider(oidc={"caCertificateRef": {"name": "ca"}})
    harness.settle()
    assert harness.condition(key, "Stalled").startswith("True ConfigMap")
    assert harness.next_due[key] - harness.clock.now <= timedelta(seconds=15)


def test_thousands_of_conflicts_cost_ten_reads_a_second() -> None:
    rechecks = PeriodicRechecks(timedelta(minutes=10), lambda: NOW)
    for number in range(3000):
        due = rechecks.due(Ref("OAuthClient", "leave", f"c{number}"), CONFLICT)
    assert due == NOW + timedelta(seconds=3000 / READS_PER_SECOND)


def test_solved_conflicts_and_deleted_objects_no_longer_slow_the_others() -> None:
    rechecks = PeriodicRechecks(timedelta(minutes=10), lambda: NOW)
    refs = [Ref("OAuthClient", "leave", f"c{number}") for number in range(3000)]
    for ref in refs:
        rechecks.due(ref, CONFLICT)
    for ref in refs[1:]:
        assert rechecks.due(ref, READY if ref.name.endswith("1") else None) is None
    assert rechecks.due(refs[0], CONFLICT) == NOW + timedelta(seconds=10)


def test_other_problems_are_rechecked_at_each_resync() -> None:
    assert PeriodicRechecks(timedelta(minutes=1), lambda: NOW).due(
        Ref("OAuthClient", "leave", "a"), OTHER
    ) == NOW + timedelta(minutes=1)
