"""Writes that are due and fail are retried until they succeed, in bounded time and without using up credentials.

As the queue does, `advance_while_due` reconciles an object only at its due time: without one, the retry never comes.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from scopewright.controller.overdue import overdue_keys
from scopewright.core.client.credentials import CauseKind
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref, digest
from scopewright.core.records.names import client_record_name
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import NAMESPACE
from tests.unit.controller.test_metrics import Scraped

WORKER = Ref("OAuthClient", "leave", "worker")
SECRET = "Secret leave/worker-oauth"
RECORD = f"Secret {NAMESPACE}/{client_record_name('leave', 'worker')}"
SPEC: dict[str, Any] = {"rotation": {"every": "24h", "overlap": "1h"}}
RECOVERY = timedelta(seconds=15)

ERRORS: dict[str, Callable[[], Exception]] = {
    "webhook down": lambda: Unavailable(
        'failed calling webhook "policy.example.org"', reason="WebhookUnavailable", refused=True
    ),
    "webhook denies": lambda: Rejected("AdmissionDenied", 'admission webhook "policy.example.org" denied the request'),
    "quota": lambda: Rejected("QuotaExceeded", "exceeded quota: secrets"),
    "403": lambda: Rejected("Forbidden", "a right is missing"),
    "409": lambda: Conflict("the object has been modified"),
    "422": lambda: Rejected("Immutable", "field is immutable"),
    "429": lambda: Unavailable("too many requests", reason="TooManyRequests", refused=True),
    "500": lambda: Unavailable("internal error", reason="ServerError"),
    "no answer": lambda: Unavailable("no answer in time", reason="Unreachable"),
}


def advance_to_due_rotation(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=24)


def request_rotation(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked")


def revoke(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=1)
    before = {"revokedBefore": (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def delete_secret(harness: OperatorHarness) -> None:
    harness.store.delete_by_hand(harness.secret_ref())


def change_method(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", {**SPEC, "authentication": {"method": "PrivateKeyJWT"}})


CAUSES = {
    "age": advance_to_due_rotation,
    "rotate": request_rotation,
    "revokedBefore": revoke,
    "heal": delete_secret,
    "method": change_method,
}


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", SPEC)
    harness.settle()
    return harness


def reconcile(harness: OperatorHarness, key: Ref = WORKER) -> bool:
    harness.resync()
    return harness.reconcile(key)


def advance_while_due(harness: OperatorHarness, time: timedelta, key: Ref = WORKER) -> None:
    """Advance the clock by `time`, and reconcile the object whenever it is due."""
    end = harness.clock.now + time
    while (due := harness.next_due.get(key)) and due <= end:
        harness.clock.now = max(harness.clock.now, due)
        reconcile(harness, key)
    harness.clock.now = max(harness.clock.now, end)


def secret_digest(harness: OperatorHarness) -> str:
    stored = harness.store.objects.get(harness.secret_ref())
    entries = stored.entries if stored else {}
    value = entries.get("client_secret") or entries.get("private_key.jwk") or b""
    return digest(value) if value else ""


def condition_fields(harness: OperatorHarness, type_: str, key: Ref = WORKER) -> dict[str, Any]:
    return next((c for c in harness.status(key).get("conditions", []) if c["type"] == type_), {})


@pytest.mark.parametrize("what", [SECRET, RECORD], ids=["Secret", "record"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("cause", CAUSES)
def test_a_failed_rotation_is_retried_until_it_succeeds(
    harness: OperatorHarness, cause: str, error: str, what: str
) -> None:
    before = secret_digest(harness)
    harness.store.refuse(what, ERRORS[error]())
    CAUSES[cause](harness)
    reconcile(harness)
    advance_while_due(harness, timedelta(minutes=10))
    record = harness.client_record("leave", "worker")
    assert record
    assert secret_digest(harness) in ("", before)
    assert len(record.credentials) <= 2, "each retry has added a credential"
    failing = condition_fields(harness, "RotationFailing")
    assert failing["status"] == "True"
    assert failing["reason"] == getattr(harness.store.refusals[what], "reason", "")
    assert harness.next_due[WORKER] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    advance_while_due(harness, RECOVERY)
    assert secret_digest(harness) not in ("", before)
    assert not condition_fields(harness, "RotationFailing")
    assert condition_fields(harness, "Ready")["status"] == "True"
    reasons = [event.reason for event in harness.events]
    assert reasons.count("RotationFailing") == 1
    assert reasons.count("RotationRecovered") == 1
    harness.settle()


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_first_credential_is_retried_until_it_succeeds(error: str) -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", SPEC)
    harness.store.refuse(SECRET, ERRORS[error]())
    reconcile(harness)
    advance_while_due(harness, timedelta(minutes=10))
    record = harness.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 1
    assert condition_fields(harness, "Ready")["status"] == "False"
    assert not condition_fields(harness, "RotationFailing")
    harness.store.stop_refusing()
    advance_while_due(harness, RECOVERY)
    assert condition_fields(harness, "Ready")["status"] == "True"
    reasons = [event.reason for event in harness.events]
    assert "CredentialIssued" in reasons
    assert "CredentialHealed" not in reasons, "the first Secret is not a healed one"


@pytest.mark.parametrize(
    ("cause", "label"),
    [
        ("age", "age"), ("rotate", "rotate_annotation"), ("revokedBefore", "revoked_before"), ("heal", "heal"),
        ("method", "method_change"),
    ],
)  # fmt: skip
def test_an_overdue_rotation_is_counted_by_cause_and_found_by_the_resync(
    harness: OperatorHarness, cause: str, label: str
) -> None:
    """Both follow from the current state, without a timer or an earlier attempt."""
    assert WORKER not in overdue_keys(harness.cache, harness.config, harness.clock.now)
    CAUSES[cause](harness)
    harness.resync()
    scraped = Scraped(harness)
    counts = {kind.value: scraped("credential_rotations_overdue", cause=kind.value) for kind in CauseKind}
    assert {kind for kind, count in counts.items() if count} == {label}
    assert counts["first"] is None
    assert WORKER in overdue_keys(harness.cache, harness.config, harness.clock.now)
    harness.settle()
    harness.resync()
    assert WORKER not in overdue_keys(harness.cache, harness.config, harness.clock.now)
    assert not Scraped(harness)("credential_rotations_overdue", cause=label)


def test_ends_of_overlaps_and_grants_and_overdue_signing_keys_are_found_by_the_resync(harness: OperatorHarness) -> None:
    key = harness.apply("SigningKey", NAMESPACE, "default")
    api = harness.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    ends = (harness.clock.now + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    to = [{"allNamespaces": True}]
    grant = {"resourceServer": "api", "scopes": ["read"], "to": to, "expirationTime": ends}
    harness.apply("ScopeGrant", "payroll", "grant", grant)
    request_rotation(harness)
    harness.settle()
    harness.resync()
    assert overdue_keys(harness.cache, harness.config, harness.clock.now) == {key}
    harness.clock.advance(hours=2, seconds=1)
    assert overdue_keys(harness.cache, harness.config, harness.clock.now) == {key, api, WORKER}


@pytest.mark.parametrize("type_", ["Opaque", "servicebinding.io/oauth2"])
def test_a_foreign_secret_is_not_an_overdue_rotation(harness: OperatorHarness, type_: str) -> None:
    harness.store.delete_by_hand(harness.secret_ref())
    taken = Existing(harness.secret_ref(), "", "", type_, {MANAGED_BY: MANAGER}, owner_uids=("another",))
    harness.store.put(taken, {"client_secret": b"foreign"})
    harness.resync()
    assert WORKER not in overdue_keys(harness.cache, harness.config, harness.clock.now)


def test_a_client_stays_ready_while_its_rotation_fails(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["webhook down"]())
    request_rotation(harness)
    reconcile(harness)
    advance_while_due(harness, timedelta(minutes=1))
    assert condition_fields(harness, "Ready")["status"] == "True"
    assert not condition_fields(harness, "Stalled")
    message = condition_fields(harness, "RotationFailing")["message"]
    assert "scopewright.dev/rotate" in message
    assert "policy.example.org" in message


def test_reconciliations_between_retries_do_not_shorten_pauses(harness: OperatorHarness) -> None:
    """Each written status comes back as an event, which queues the object."""
    harness.store.refuse(SECRET, ERRORS["quota"]())
    request_rotation(harness)
    for _ in range(200):
        harness.resync()
        run_sync(harness.reconciler.reconcile(WORKER))
        harness.clock.advance(milliseconds=100)
    assert 5 <= len(harness.store.refused_writes) <= 12


def test_a_change_by_the_user_is_written_at_once(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["quota"]())
    request_rotation(harness)
    reconcile(harness)
    advance_while_due(harness, timedelta(minutes=2))
    harness.store.stop_refusing()
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    reconcile(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert record.credentials[-1].rotate == "leaked again"
    assert secret_digest(harness) == record.credentials[-1].sha256
    assert len(record.credentials) == 2, "the refused credential is still in the record"


def test_a_digest_that_may_have_reached_a_secret_stays_when_another_rotation_is_requested(
    harness: OperatorHarness,
) -> None:
    harness.store.refuse(SECRET, ERRORS["no answer"]())
    request_rotation(harness)
    reconcile(harness)
    pending = harness.client_record("leave", "worker")
    assert pending
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    reconcile(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert {c.sha256 for c in pending.credentials} <= {c.sha256 for c in record.credentials}


def test_a_write_whose_answer_was_lost_is_found(harness: OperatorHarness) -> None:
    before = secret_digest(harness)
    request_rotation(harness)
    harness.store.fail(Unavailable("no answer in time"), at=1, point="after")
    reconcile(harness)
    arrived = secret_digest(harness)
    assert arrived != before
    advance_while_due(harness, RECOVERY)
    harness.settle()
    assert secret_digest(harness) == arrived, "the credential was rotated a second time"


def rename_secret(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", {**SPEC, "credentials": {"secretName": "elsewhere"}})


def use_up_heals(harness: OperatorHarness) -> None:
    for n in range(3):
        harness.clock.advance(minutes=2)
        harness.store.edit(harness.secret_ref(), client_secret=b"edited %d" % n)
        harness.settle()


@pytest.mark.parametrize("what", ["revokedBefore", "secretName"])
@pytest.mark.parametrize("error", ["quota", "500", "no answer"])
def test_a_retry_is_not_limited_as_a_heal(harness: OperatorHarness, error: str, what: str) -> None:
    use_up_heals(harness)
    harness.events.clear()
    {"revokedBefore": revoke_now, "secretName": rename_secret}[what](harness)
    harness.store.fail(ERRORS[error](), at=1)
    reconcile(harness)
    assert not harness.store.failures
    advance_while_due(harness, RECOVERY)
    assert condition_fields(harness, "Ready")["reason"] == "Provisioned"
    reasons = [event.reason for event in harness.events]
    assert {"revokedBefore": "CredentialRevoked", "secretName": "CredentialMoved"}[what] in reasons
    assert "CredentialHealed" not in reasons
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert not record.credentials[-1].heal


def revoke_now(harness: OperatorHarness) -> None:
    harness.clock.advance(minutes=2)
    before = {"revokedBefore": (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def test_the_first_retry_after_a_restart_is_not_limited_as_a_heal(harness: OperatorHarness) -> None:
    """The Secret has the revoked credential, and the new value was lost with the process."""
    use_up_heals(harness)
    old = harness.store.objects[harness.secret_ref()]
    revoke_now(harness)
    harness.store.fail(ERRORS["500"](), at=1)
    reconcile(harness)
    harness.restart()
    harness.reconcile_all()
    harness.settle()
    assert condition_fields(harness, "Ready")["reason"] == "Provisioned"
    harness.store.put(old.existing, old.entries)
    harness.settle()
    assert condition_fields(harness, "Ready")["reason"] == "HealingLimited", (
        "restoring the Secret repeatedly is limited"
    )


def test_a_rotation_waits_while_four_credentials_are_in_use(harness: OperatorHarness) -> None:
    for n in range(4):
        harness.apply("OAuthClient", "leave", "worker", SPEC, rotate=str(n))
        reconcile(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 4
    assert condition_fields(harness, "RotationFailing")["reason"] == "CredentialsInUse"
    before = secret_digest(harness)
    advance_while_due(harness, timedelta(hours=1, minutes=1))
    assert secret_digest(harness) != before
    assert not condition_fields(harness, "RotationFailing")


def test_an_overdue_rotation_ends_although_four_crashes_left_unused_digests(harness: OperatorHarness) -> None:
    """The operator crashes between the writes of record and Secret, four times."""
    advance_to_due_rotation(harness)
    harness.store.refuse(SECRET, ERRORS["500"]())
    for _ in range(4):
        reconcile(harness)
        harness.restart()
    before = secret_digest(harness)
    harness.store.stop_refusing()
    reconcile(harness)
    advance_while_due(harness, timedelta(seconds=90))
    assert secret_digest(harness) != before


@pytest.mark.parametrize("what", [f"Secret {NAMESPACE}/signingkey", f"ConfigMap {NAMESPACE}/scopewright-jwks"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_key_rotation_is_retried_until_it_succeeds(error: str, what: str) -> None:
    harness = OperatorHarness()
    key = harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    harness.clock.advance(hours=720 - 24)
    harness.store.refuse(what, ERRORS[error]())
    reconcile(harness, key)
    advance_while_due(harness, timedelta(minutes=10), key)
    assert len(harness.key_records()) <= 2, "each retry has added a key"
    assert condition_fields(harness, "RotationFailing", key)["status"] == "True"
    assert condition_fields(harness, "Ready", key)["status"] == "True"
    assert harness.next_due[key] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    advance_while_due(harness, RECOVERY, key)
    assert not condition_fields(harness, "RotationFailing", key)
    assert len(harness.key_records()) == 2
    assert len(harness.jwks()) == 2
    assert all(record.signing_start_time for record in harness.key_records())


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_revocation_of_keys_is_retried_until_it_succeeds(error: str) -> None:
    harness = OperatorHarness()
    key = harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    harness.clock.advance(hours=1)
    harness.store.refuse(f"Secret {NAMESPACE}/signingkey", ERRORS[error]())
    before = (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    harness.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": before})
    reconcile(harness, key)
    advance_while_due(harness, timedelta(minutes=5), key)
    assert condition_fields(harness, "Ready", key)["status"] == "False"
    harness.store.stop_refusing()
    advance_while_due(harness, RECOVERY, key)
    assert condition_fields(harness, "Ready", key)["status"] == "True"
    assert [r.revoked_time is not None for r in harness.key_records()] == [True, False]


@pytest.mark.parametrize("error", ["500", "409", "no answer"])
def test_a_key_signs_until_its_emergency_successor_is_written(error: str) -> None:
    """The revoked key is removed once its successor can sign, and not before."""
    harness = OperatorHarness()
    key = harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    harness.clock.advance(hours=1)
    before = (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    harness.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": before})
    failure = ERRORS[error]()
    harness.store.fail(failure)
    reconcile(harness, key)
    [record] = harness.key_records()
    assert record.signs_at(harness.clock.now)
    advance_while_due(harness, RECOVERY, key)
    assert [r.revoked_time is not None for r in harness.key_records()] == [True, False]


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_resource_server_record_is_retried_until_it_succeeds(error: str) -> None:
    harness = OperatorHarness()
    key = harness.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    harness.store.refuse(f"ConfigMap {NAMESPACE}/resourceserver", ERRORS[error]())
    reconcile(harness, key)
    advance_while_due(harness, timedelta(minutes=5), key)
    assert condition_fields(harness, "Ready", key)["status"] == "False"
    assert harness.next_due[key] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    advance_while_due(harness, RECOVERY, key)
    assert harness.server_record("payroll", "api")


def test_events_are_kept_while_the_status_cannot_be_written(harness: OperatorHarness) -> None:
    harness.store.refuse("OAuthClient leave/worker", ERRORS["webhook denies"]())
    request_rotation(harness)
    for _ in range(3):
        assert not reconcile(harness)
    assert "CredentialRotated" not in [event.reason for event in harness.events]
    harness.store.stop_refusing()
    reconcile(harness)
    assert [event.reason for event in harness.events].count("CredentialRotated") == 1


def test_a_clock_that_is_set_back_does_not_delay_retries(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["quota"]())
    request_rotation(harness)
    reconcile(harness)
    harness.clock.now -= timedelta(days=1)
    harness.store.stop_refusing()
    before = secret_digest(harness)
    reconcile(harness)
    assert secret_digest(harness) != before


def test_the_status_changes_with_the_webhook_that_refuses_and_not_with_each_message(harness: OperatorHarness) -> None:
    def message_for(message: str) -> str:
        harness.store.refuse(SECRET, Rejected("AdmissionDenied", message))
        advance_while_due(harness, timedelta(seconds=20))
        return str(condition_fields(harness, "RotationFailing")["message"])

    request_rotation(harness)
    harness.store.refuse(SECRET, Rejected("AdmissionDenied", "webhook a denied the write: 17 ms"))
    reconcile(harness)
    assert "17 ms" in message_for("webhook a denied the write: 18 ms")
    assert "webhook b" in message_for("webhook b denied the write: 19 ms")


def test_lost_leadership_is_not_a_failed_write(harness: OperatorHarness) -> None:
    request_rotation(harness)
    harness.store.refuse(SECRET, NotLeading())
    reconcile(harness)
    assert not harness.retries.retry_time(WORKER)
    assert harness.condition(WORKER) == "True Provisioned"
