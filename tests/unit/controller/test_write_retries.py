"""What is due and cannot be written is tried until it succeeds, in time and without using up slots; the status says so.

Keys are looked at only when the reconciler has asked for it, as the queue does: what has no due time is lost.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from scopewright.controller import object_backoff
from scopewright.controller.object_backoff import ObjectBackoff
from scopewright.controller.overdue import overdue_keys
from scopewright.controller.write_retries import WriteRetries
from scopewright.core.client.credentials import CauseKind
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Existing, Ref, digest
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


def by_age(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=24)


def by_hand(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked")


def revoked(harness: OperatorHarness) -> None:
    harness.clock.advance(hours=1)
    before = {"revokedBefore": (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def healed(harness: OperatorHarness) -> None:
    harness.store.delete_by_hand(harness.secret())


def another_method(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", {**SPEC, "authentication": {"method": "PrivateKeyJWT"}})


CAUSES = {
    "age": by_age, "rotate": by_hand, "revokedBefore": revoked, "heal": healed, "method": another_method,
}  # fmt: skip


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", SPEC)
    harness.settle()
    return harness


def look(harness: OperatorHarness, key: Ref = WORKER) -> bool:
    harness.resync()
    return harness.reconcile(key)


def wait(harness: OperatorHarness, time: timedelta, key: Ref = WORKER) -> None:
    """Only what is due is looked at."""
    end = harness.clock.now + time
    while (due := harness.next_due.get(key)) and due <= end:
        harness.clock.now = max(harness.clock.now, due)
        look(harness, key)
    harness.clock.now = max(harness.clock.now, end)


def held(harness: OperatorHarness) -> str:
    stored = harness.store.objects.get(harness.secret())
    entries = stored.entries if stored else {}
    value = entries.get("client_secret") or entries.get("private_key.jwk") or b""
    return digest(value) if value else ""


def condition(harness: OperatorHarness, type_: str, key: Ref = WORKER) -> dict[str, Any]:
    return next((c for c in harness.status(key).get("conditions", []) if c["type"] == type_), {})


@pytest.mark.parametrize("what", [SECRET, RECORD], ids=["Secret", "record"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("cause", CAUSES)
def test_a_failed_rotation_is_retried_until_it_succeeds(
    harness: OperatorHarness, cause: str, error: str, what: str
) -> None:
    before = held(harness)
    harness.store.refuse(what, ERRORS[error]())
    CAUSES[cause](harness)
    look(harness)
    wait(harness, timedelta(minutes=10))
    record = harness.client_record("leave", "worker")
    assert record
    assert held(harness) in ("", before)
    assert len(record.credentials) <= 2, "retries use up slots"
    failing = condition(harness, "RotationFailing")
    assert failing["status"] == "True"
    assert failing["reason"] == getattr(harness.store.refusals[what], "reason", "")
    assert harness.next_due[WORKER] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    wait(harness, RECOVERY)
    assert held(harness) not in ("", before)
    assert not condition(harness, "RotationFailing")
    assert condition(harness, "Ready")["status"] == "True"
    told = [event.reason for event in harness.events]
    assert told.count("RotationFailing") == 1
    assert told.count("RotationRecovered") == 1
    harness.settle()


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_first_credential_is_retried_until_it_succeeds(error: str) -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker", SPEC)
    harness.store.refuse(SECRET, ERRORS[error]())
    look(harness)
    wait(harness, timedelta(minutes=10))
    record = harness.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 1
    assert condition(harness, "Ready")["status"] == "False"
    assert not condition(harness, "RotationFailing")
    harness.store.stop_refusing()
    wait(harness, RECOVERY)
    assert condition(harness, "Ready")["status"] == "True"
    told = [event.reason for event in harness.events]
    assert "CredentialIssued" in told
    assert "CredentialHealed" not in told, "it was never there to be healed"


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
    """Both from the level alone, whether or not a timer is set or a write was ever tried."""
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
    by_hand(harness)
    harness.settle()
    harness.resync()
    assert overdue_keys(harness.cache, harness.config, harness.clock.now) == {key}
    harness.clock.advance(hours=2, seconds=1)
    assert overdue_keys(harness.cache, harness.config, harness.clock.now) == {key, api, WORKER}


@pytest.mark.parametrize("type_", ["Opaque", "servicebinding.io/oauth2"])
def test_a_foreign_secret_is_not_an_overdue_rotation(harness: OperatorHarness, type_: str) -> None:
    harness.store.delete_by_hand(harness.secret())
    taken = Existing(harness.secret(), "", "", type_, {MANAGED_BY: MANAGER}, owner_uids=("another",))
    harness.store.put(taken, {"client_secret": b"theirs"})
    harness.resync()
    assert WORKER not in overdue_keys(harness.cache, harness.config, harness.clock.now)


def test_a_client_stays_ready_while_its_rotation_fails(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["webhook down"]())
    by_hand(harness)
    look(harness)
    wait(harness, timedelta(minutes=1))
    assert condition(harness, "Ready")["status"] == "True"
    assert not condition(harness, "Stalled")
    message = condition(harness, "RotationFailing")["message"]
    assert "scopewright.dev/rotate" in message
    assert "policy.example.org" in message


def test_reconciliations_between_retries_do_not_shorten_pauses(harness: OperatorHarness) -> None:
    """Each status that is written comes back as an event."""
    harness.store.refuse(SECRET, ERRORS["quota"]())
    by_hand(harness)
    for _ in range(200):
        harness.resync()
        run_sync(harness.reconciler.reconcile(WORKER))
        harness.clock.advance(milliseconds=100)
    assert 5 <= len(harness.store.refused_writes) <= 12


def test_a_change_by_the_user_is_written_at_once(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["quota"]())
    by_hand(harness)
    look(harness)
    wait(harness, timedelta(minutes=2))
    harness.store.stop_refusing()
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    look(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert record.credentials[-1].rotate == "leaked again"
    assert held(harness) == record.credentials[-1].sha256
    assert len(record.credentials) == 2, "the refused one has left the record"


def test_a_digest_that_may_have_reached_a_secret_stays_when_another_rotation_is_requested(
    harness: OperatorHarness,
) -> None:
    harness.store.refuse(SECRET, ERRORS["no answer"]())
    by_hand(harness)
    look(harness)
    pending = harness.client_record("leave", "worker")
    assert pending
    harness.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    look(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert {c.sha256 for c in pending.credentials} <= {c.sha256 for c in record.credentials}


def test_a_write_whose_answer_was_lost_is_found(harness: OperatorHarness) -> None:
    before = held(harness)
    by_hand(harness)
    harness.store.fail(Unavailable("no answer in time"), at=1, point="after")
    look(harness)
    arrived = held(harness)
    assert arrived != before
    wait(harness, RECOVERY)
    harness.settle()
    assert held(harness) == arrived, "it rotates a second time"


def moved(harness: OperatorHarness) -> None:
    harness.apply("OAuthClient", "leave", "worker", {**SPEC, "credentials": {"secretName": "elsewhere"}})


def healed_so_often_that_it_is_limited(harness: OperatorHarness) -> None:
    for n in range(3):
        harness.clock.advance(minutes=2)
        harness.store.edit(harness.secret(), client_secret=b"edited %d" % n)
        harness.settle()


@pytest.mark.parametrize("what", ["revokedBefore", "secretName"])
@pytest.mark.parametrize("error", ["quota", "500", "no answer"])
def test_a_retry_is_not_limited_as_a_heal(harness: OperatorHarness, error: str, what: str) -> None:
    healed_so_often_that_it_is_limited(harness)
    harness.events.clear()
    {"revokedBefore": revoked_now, "secretName": moved}[what](harness)
    harness.store.fail(ERRORS[error](), at=1)
    look(harness)
    assert not harness.store.failures
    wait(harness, RECOVERY)
    assert condition(harness, "Ready")["reason"] == "Provisioned"
    reasons = [event.reason for event in harness.events]
    assert {"revokedBefore": "CredentialRevoked", "secretName": "CredentialMoved"}[what] in reasons
    assert "CredentialHealed" not in reasons
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert not record.credentials[-1].heal


def revoked_now(harness: OperatorHarness) -> None:
    harness.clock.advance(minutes=2)
    before = {"revokedBefore": (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    harness.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def test_the_first_retry_after_a_restart_is_not_limited_as_a_heal(harness: OperatorHarness) -> None:
    """The Secret holds what was revoked, and the value that was to follow it is lost with the process."""
    healed_so_often_that_it_is_limited(harness)
    old = harness.store.objects[harness.secret()]
    revoked_now(harness)
    harness.store.fail(ERRORS["500"](), at=1)
    look(harness)
    harness.restart()
    harness.reconcile_all()
    harness.settle()
    assert condition(harness, "Ready")["reason"] == "Provisioned"
    harness.store.put(old.existing, old.entries)
    harness.settle()
    assert condition(harness, "Ready")["reason"] == "HealingLimited", "who restores it for ever meets the limit"


def test_a_rotation_waits_while_four_credentials_are_in_use(harness: OperatorHarness) -> None:
    for n in range(4):
        harness.apply("OAuthClient", "leave", "worker", SPEC, rotate=str(n))
        look(harness)
    record = harness.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 4
    assert condition(harness, "RotationFailing")["reason"] == "CredentialsInUse"
    before = held(harness)
    wait(harness, timedelta(hours=1, minutes=1))
    assert held(harness) != before
    assert not condition(harness, "RotationFailing")


def test_an_overdue_rotation_ends_although_four_crashes_left_unused_digests(harness: OperatorHarness) -> None:
    """A process that dies between record and Secret, three times."""
    by_age(harness)
    harness.store.refuse(SECRET, ERRORS["500"]())
    for _ in range(4):
        look(harness)
        harness.restart()
    before = held(harness)
    harness.store.stop_refusing()
    look(harness)
    wait(harness, timedelta(seconds=90))
    assert held(harness) != before


@pytest.mark.parametrize("what", [f"Secret {NAMESPACE}/signingkey", f"ConfigMap {NAMESPACE}/scopewright-jwks"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_key_rotation_is_retried_until_it_succeeds(error: str, what: str) -> None:
    harness = OperatorHarness()
    key = harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    harness.clock.advance(hours=720 - 24)
    harness.store.refuse(what, ERRORS[error]())
    look(harness, key)
    wait(harness, timedelta(minutes=10), key)
    assert len(harness.key_records()) <= 2, "retries leave keys behind"
    assert condition(harness, "RotationFailing", key)["status"] == "True"
    assert condition(harness, "Ready", key)["status"] == "True"
    assert harness.next_due[key] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    wait(harness, RECOVERY, key)
    assert not condition(harness, "RotationFailing", key)
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
    look(harness, key)
    wait(harness, timedelta(minutes=5), key)
    assert condition(harness, "Ready", key)["status"] == "False"
    harness.store.stop_refusing()
    wait(harness, RECOVERY, key)
    assert condition(harness, "Ready", key)["status"] == "True"
    assert [r.revoked_time is not None for r in harness.key_records()] == [True, False]


@pytest.mark.parametrize("error", ["500", "409", "no answer"])
def test_a_key_signs_until_its_emergency_successor_is_written(error: str) -> None:
    """What is revoked goes once a fresh key can sign: a moment later, and not before."""
    harness = OperatorHarness()
    key = harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    harness.clock.advance(hours=1)
    before = (harness.clock.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    harness.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": before})
    failure = ERRORS[error]()
    harness.store.fail(failure)
    look(harness, key)
    [record] = harness.key_records()
    assert record.signs_at(harness.clock.now)
    wait(harness, RECOVERY, key)
    assert [r.revoked_time is not None for r in harness.key_records()] == [True, False]


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_resource_server_record_is_retried_until_it_succeeds(error: str) -> None:
    harness = OperatorHarness()
    key = harness.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    harness.store.refuse(f"ConfigMap {NAMESPACE}/resourceserver", ERRORS[error]())
    look(harness, key)
    wait(harness, timedelta(minutes=5), key)
    assert condition(harness, "Ready", key)["status"] == "False"
    assert harness.next_due[key] <= harness.clock.now + RECOVERY
    harness.store.stop_refusing()
    wait(harness, RECOVERY, key)
    assert harness.server_record("payroll", "api")


def test_events_are_kept_while_the_status_cannot_be_written(harness: OperatorHarness) -> None:
    harness.store.refuse("OAuthClient leave/worker", ERRORS["webhook denies"]())
    by_hand(harness)
    for _ in range(3):
        assert not look(harness)
    assert "CredentialRotated" not in [event.reason for event in harness.events]
    harness.store.stop_refusing()
    look(harness)
    assert [event.reason for event in harness.events].count("CredentialRotated") == 1


def test_pauses_grow_with_jitter_and_stay_below_fifteen_seconds() -> None:
    chances = iter([0.0, 1.0] * 20)
    its = ObjectBackoff(lambda: next(chances))
    waits = [its.failed(WORKER) for _ in range(12)]
    assert waits[0] == pytest.approx(0.15)
    assert waits[1] == pytest.approx(0.5)
    assert max(waits) == pytest.approx(12.5)
    its.succeeded(WORKER)
    assert its.failed(WORKER) < 0.5


def test_thousands_of_failing_objects_are_retried_at_ten_a_second() -> None:
    its = ObjectBackoff(lambda: 0.5)
    refs = [Ref("OAuthClient", f"n{n % 7}", f"c{n}") for n in range(2000)]
    for _ in range(16):
        for ref in refs:
            pause = its.failed(ref)
    assert pause == pytest.approx(len(refs) / object_backoff.ATTEMPTS_PER_SECOND, rel=0.01)
    assert its.limit("n1") <= object_backoff.MAX_PAUSE_SECONDS


def test_thousands_of_failures_in_one_namespace_do_not_delay_another() -> None:
    its = ObjectBackoff(lambda: 1.0)
    for n in range(5000):
        its.failed(Ref("OAuthClient", "crowd", f"c{n}"))
    waits = [its.failed(WORKER) for _ in range(12)]
    assert max(waits) <= RECOVERY.total_seconds()
    assert its.limit("crowd") == object_backoff.MAX_PAUSE_SECONDS
    for n in range(5000):
        its.succeeded(Ref("OAuthClient", "crowd", f"c{n}"))
    assert its.limit("crowd") == object_backoff.USUAL_LIMIT_SECONDS


def test_a_clock_that_is_set_back_does_not_delay_retries(harness: OperatorHarness) -> None:
    harness.store.refuse(SECRET, ERRORS["quota"]())
    by_hand(harness)
    look(harness)
    harness.clock.now -= timedelta(days=1)
    harness.store.stop_refusing()
    before = held(harness)
    look(harness)
    assert held(harness) != before


def test_the_status_changes_with_the_webhook_that_refuses_and_not_with_each_message(harness: OperatorHarness) -> None:
    def said(words: str) -> str:
        harness.store.refuse(SECRET, Rejected("AdmissionDenied", words))
        wait(harness, timedelta(seconds=20))
        return str(condition(harness, "RotationFailing")["message"])

    by_hand(harness)
    harness.store.refuse(SECRET, Rejected("AdmissionDenied", "webhook a denied the write: 17 ms"))
    look(harness)
    assert "17 ms" in said("webhook a denied the write: 18 ms")
    assert "webhook b" in said("webhook b denied the write: 19 ms")


def test_a_recovered_object_wakes_those_that_fail_for_the_same_cause() -> None:
    harness = OperatorHarness()
    its = WriteRetries(ObjectBackoff(lambda: 0.5))
    harness.apply("OAuthClient", "leave", "worker", SPEC)
    keys = {name: Ref("OAuthClient", *name) for name in (("leave", "a"), ("leave", "b"), ("travel", "c"), ("it", "d"))}
    for (namespace, name), key in keys.items():
        secret = Ref("Secret", namespace, f"{name}-oauth")
        error = ERRORS["quota" if namespace == "it" else "webhook down"]()
        assert isinstance(error, Rejected | Unavailable)
        its.failed(key, Desired(secret, {}), error, (), harness.clock.now)
    woken = its.succeeded(keys["leave", "a"], Ref("Secret", "leave", "a-oauth"), harness.clock.now)
    assert woken == {keys["leave", "b"], keys["travel", "c"]}
    assert not its.on_hold(keys["leave", "b"], (), harness.clock.now)
    assert its.on_hold(keys["it", "d"], (), harness.clock.now)


def crowd(
    its: WriteRetries, count: int, error: Rejected | Unavailable, now: datetime, namespace: str = "leave"
) -> list[Ref]:
    keys = [Ref("OAuthClient", namespace, f"c{n}") for n in range(count)]
    for key in keys:
        its.failed(key, Desired(secret_of(key), {}), error, (), now)
    return keys


def secret_of(key: Ref) -> Ref:
    return Ref("Secret", key.namespace, f"{key.name}-oauth")


def test_many_recovering_objects_are_woken_once_each_the_longest_waiting_first() -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), OperatorHarness().clock.now
    keys = crowd(its, 500, Unavailable("down", reason="WebhookUnavailable", refused=True), now)
    woken = [its.succeeded(key, secret_of(key), now) for key in keys]
    assert woken[0] == set(keys[1:101])
    assert woken[1] == set(keys[101:201])
    assert sum(map(len, woken)) <= 499
    assert set().union(*woken) == set(keys[1:])


def test_an_object_that_fails_and_recovers_shortens_the_pauses_of_others_once() -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), OperatorHarness().clock.now
    error = Unavailable("down", reason="WebhookUnavailable", refused=True)
    for _ in range(6):
        others = crowd(its, 3, error, now)
    flapping = Ref("OAuthClient", "evil", "x")
    woken: list[Ref] = []
    for _ in range(10):
        its.failed(flapping, Desired(secret_of(flapping), {}), error, (), now)
        woken += its.succeeded(flapping, secret_of(flapping), now)
        now += timedelta(milliseconds=100)
    assert sorted(woken) == sorted(others)


@pytest.mark.parametrize("reason", ["QuotaExceeded", "AdmissionDenied", "Refused", "Forbidden"])
def test_an_object_that_recovers_from_a_refusal_wakes_none_in_another_namespace(reason: str) -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), OperatorHarness().clock.now
    crowd(its, 3, Rejected(reason, "no"), now)
    other = crowd(its, 2, Rejected(reason, "no"), now, "travel")
    assert its.succeeded(other[0], secret_of(other[0]), now) == {other[1]}


def test_lost_leadership_is_not_a_failed_write(harness: OperatorHarness) -> None:
    by_hand(harness)
    harness.store.refuse(SECRET, NotLeading())
    look(harness)
    assert not harness.retries.retry_time(WORKER)
    assert harness.condition(WORKER) == "True Provisioned"
