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
from scopewright.core.records import client_record_name
from tests.unit.controller.house import NAMESPACE, House, drive
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


def by_age(house: House) -> None:
    house.pass_time(timedelta(hours=24))


def by_hand(house: House) -> None:
    house.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked")


def revoked(house: House) -> None:
    house.pass_time(timedelta(hours=1))
    before = {"revokedBefore": (house.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    house.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def healed(house: House) -> None:
    house.store.drop(house.secret())


def another_method(house: House) -> None:
    house.apply("OAuthClient", "leave", "worker", {**SPEC, "authentication": {"method": "PrivateKeyJWT"}})


CAUSES = {
    "age": by_age, "rotate": by_hand, "revokedBefore": revoked, "heal": healed, "method": another_method,
}  # fmt: skip


@pytest.fixture
def house() -> House:
    house = House()
    house.apply("OAuthClient", "leave", "worker", SPEC)
    house.settle()
    return house


def look(house: House, key: Ref = WORKER) -> bool:
    house.look()
    return drive(house._reconcile(key))


def wait(house: House, time: timedelta, key: Ref = WORKER) -> None:
    """Only what is due is looked at."""
    end = house.now + time
    while (due := house.due.get(key)) and due <= end:
        house.now = max(house.now, due)
        look(house, key)
    house.now = max(house.now, end)


def held(house: House) -> str:
    stored = house.store.objects.get(house.secret())
    entries = stored.entries if stored else {}
    value = entries.get("client_secret") or entries.get("private_key.jwk") or b""
    return digest(value) if value else ""


def condition(house: House, type_: str, key: Ref = WORKER) -> dict[str, Any]:
    return next((c for c in house.status(key).get("conditions", []) if c["type"] == type_), {})


@pytest.mark.parametrize("what", [SECRET, RECORD], ids=["Secret", "record"])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("cause", CAUSES)
def test_what_is_refused_is_tried_until_it_succeeds(house: House, cause: str, error: str, what: str) -> None:
    before = held(house)
    house.store.refused[what] = ERRORS[error]()
    CAUSES[cause](house)
    look(house)
    wait(house, timedelta(minutes=10))
    record = house.client_record("leave", "worker")
    assert record
    assert held(house) in ("", before)
    assert len(record.credentials) <= 2, "retries use up slots"
    failing = condition(house, "RotationFailing")
    assert failing["status"] == "True"
    assert failing["reason"] == getattr(house.store.refused[what], "reason", "")
    assert house.due[WORKER] <= house.now + RECOVERY
    house.store.refused.clear()
    wait(house, RECOVERY)
    assert held(house) not in ("", before)
    assert not condition(house, "RotationFailing")
    assert condition(house, "Ready")["status"] == "True"
    told = [h.reason for h in house.happened]
    assert told.count("RotationFailing") == 1
    assert told.count("RotationRecovered") == 1
    house.settle()


@pytest.mark.parametrize("error", ERRORS)
def test_a_first_credential_that_is_refused_comes_in_the_end(error: str) -> None:
    house = House()
    house.apply("OAuthClient", "leave", "worker", SPEC)
    house.store.refused[SECRET] = ERRORS[error]()
    look(house)
    wait(house, timedelta(minutes=10))
    record = house.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 1
    assert condition(house, "Ready")["status"] == "False"
    assert not condition(house, "RotationFailing")
    house.store.refused.clear()
    wait(house, RECOVERY)
    assert condition(house, "Ready")["status"] == "True"
    told = [h.reason for h in house.happened]
    assert "CredentialIssued" in told
    assert "CredentialHealed" not in told, "it was never there to be healed"


@pytest.mark.parametrize(
    ("cause", "label"),
    [
        ("age", "age"), ("rotate", "rotate_annotation"), ("revokedBefore", "revoked_before"), ("heal", "heal"),
        ("method", "method_change"),
    ],
)  # fmt: skip
def test_what_is_overdue_is_counted_by_its_cause_and_found_by_the_comparison(
    house: House, cause: str, label: str
) -> None:
    """Both from the level alone, whether or not a timer is set or a write was ever tried."""
    assert WORKER not in overdue_keys(house.world, house.config, house.now)
    CAUSES[cause](house)
    house.look()
    scraped = Scraped(house)
    counts = {kind.value: scraped("credential_rotations_overdue", cause=kind.value) for kind in CauseKind}
    assert {kind for kind, count in counts.items() if count} == {label}
    assert counts["first"] is None
    assert WORKER in overdue_keys(house.world, house.config, house.now)
    house.settle()
    house.look()
    assert WORKER not in overdue_keys(house.world, house.config, house.now)
    assert not Scraped(house)("credential_rotations_overdue", cause=label)


def test_ends_of_overlaps_and_grants_and_signing_keys_are_found_by_the_comparison(house: House) -> None:
    key = house.apply("SigningKey", NAMESPACE, "default")
    api = house.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    ends = (house.now + timedelta(hours=2)).strftime("%Y-%m-%dT%H:%M:%SZ")
    to = [{"allNamespaces": True}]
    grant = {"resourceServer": "api", "scopes": ["read"], "to": to, "expirationTime": ends}
    house.apply("ScopeGrant", "payroll", "grant", grant)
    by_hand(house)
    house.settle()
    house.look()
    assert overdue_keys(house.world, house.config, house.now) == {key}
    house.pass_time(timedelta(hours=2, seconds=1))
    assert overdue_keys(house.world, house.config, house.now) == {key, api, WORKER}


@pytest.mark.parametrize("type_", ["Opaque", "servicebinding.io/oauth2"])
def test_a_secret_of_somebody_elses_is_not_a_rotation_that_is_overdue(house: House, type_: str) -> None:
    house.store.drop(house.secret())
    taken = Existing(house.secret(), "", "", type_, {MANAGED_BY: MANAGER}, owner_uids=("another",))
    house.store.put(taken, {"client_secret": b"theirs"})
    house.look()
    assert WORKER not in overdue_keys(house.world, house.config, house.now)


def test_the_client_goes_on_and_is_ready_while_its_rotation_fails(house: House) -> None:
    house.store.refused[SECRET] = ERRORS["webhook down"]()
    by_hand(house)
    look(house)
    wait(house, timedelta(minutes=1))
    assert condition(house, "Ready")["status"] == "True"
    assert not condition(house, "Stalled")
    message = condition(house, "RotationFailing")["message"]
    assert "scopewright.dev/rotate" in message
    assert "policy.example.org" in message


def test_what_looks_in_between_cuts_no_pause_short(house: House) -> None:
    """Each status that is written comes back as an event."""
    house.store.refused[SECRET] = ERRORS["quota"]()
    by_hand(house)
    for _ in range(200):
        house.look()
        drive(house.reconciler.reconcile(WORKER))
        house.pass_time(timedelta(milliseconds=100))
    assert 5 <= len(house.store.tried) <= 12


def test_a_change_by_the_user_is_tried_at_once(house: House) -> None:
    house.store.refused[SECRET] = ERRORS["quota"]()
    by_hand(house)
    look(house)
    wait(house, timedelta(minutes=2))
    house.store.refused.clear()
    house.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    look(house)
    record = house.client_record("leave", "worker")
    assert record
    assert record.credentials[-1].rotate == "leaked again"
    assert held(house) == record.credentials[-1].sha256
    assert len(record.credentials) == 2, "the refused one has left the record"


def test_a_hash_that_may_have_arrived_stays_when_another_one_is_asked_for(house: House) -> None:
    house.store.refused[SECRET] = ERRORS["no answer"]()
    by_hand(house)
    look(house)
    pending = house.client_record("leave", "worker")
    assert pending
    house.apply("OAuthClient", "leave", "worker", SPEC, rotate="leaked again")
    look(house)
    record = house.client_record("leave", "worker")
    assert record
    assert {c.sha256 for c in pending.credentials} <= {c.sha256 for c in record.credentials}


def test_a_write_that_arrived_without_an_answer_is_found(house: House) -> None:
    before = held(house)
    by_hand(house)
    house.store.fail(Unavailable("no answer in time"), at=1, point="after")
    look(house)
    arrived = held(house)
    assert arrived != before
    wait(house, RECOVERY)
    house.settle()
    assert held(house) == arrived, "it rotates a second time"


def moved(house: House) -> None:
    house.apply("OAuthClient", "leave", "worker", {**SPEC, "credentials": {"secretName": "elsewhere"}})


def healed_so_often_that_it_is_limited(house: House) -> None:
    for n in range(3):
        house.pass_time(timedelta(minutes=2))
        house.store.edit(house.secret(), client_secret=b"edited %d" % n)
        house.settle()


@pytest.mark.parametrize("what", ["revokedBefore", "secretName"])
@pytest.mark.parametrize("error", ["quota", "500", "no answer"])
def test_a_retry_is_no_heal_and_is_not_limited_as_one(house: House, error: str, what: str) -> None:
    healed_so_often_that_it_is_limited(house)
    house.happened.clear()
    {"revokedBefore": revoked_now, "secretName": moved}[what](house)
    house.store.fail(ERRORS[error](), at=1)
    look(house)
    assert not house.store.trouble
    wait(house, RECOVERY)
    assert condition(house, "Ready")["reason"] == "Provisioned"
    reasons = [h.reason for h in house.happened]
    assert {"revokedBefore": "CredentialRevoked", "secretName": "CredentialMoved"}[what] in reasons
    assert "CredentialHealed" not in reasons
    record = house.client_record("leave", "worker")
    assert record is not None
    assert not record.credentials[-1].heal


def revoked_now(house: House) -> None:
    house.pass_time(timedelta(minutes=2))
    before = {"revokedBefore": (house.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")}
    house.apply("OAuthClient", "leave", "worker", {"rotation": {**SPEC["rotation"], **before}})


def test_nor_is_the_first_one_after_a_restart(house: House) -> None:
    """The Secret holds what was revoked, and the value that was to follow it is lost with the process."""
    healed_so_often_that_it_is_limited(house)
    old = house.store.objects[house.secret()]
    revoked_now(house)
    house.store.fail(ERRORS["500"](), at=1)
    look(house)
    house.restart()
    house.round()
    house.settle()
    assert condition(house, "Ready")["reason"] == "Provisioned"
    house.store.put(old.existing, old.entries)
    house.settle()
    assert condition(house, "Ready")["reason"] == "HealingLimited", "who restores it for ever meets the limit"


def test_four_credentials_in_use_are_waited_for_and_said(house: House) -> None:
    for n in range(4):
        house.apply("OAuthClient", "leave", "worker", SPEC, rotate=str(n))
        look(house)
    record = house.client_record("leave", "worker")
    assert record
    assert len(record.credentials) == 4
    assert condition(house, "RotationFailing")["reason"] == "CredentialsInUse"
    before = held(house)
    wait(house, timedelta(hours=1, minutes=1))
    assert held(house) != before
    assert not condition(house, "RotationFailing")


def test_an_overdue_rotation_is_never_without_a_time_when_all_four_are_on_their_way(house: House) -> None:
    """A process that dies between record and Secret, three times."""
    by_age(house)
    house.store.refused[SECRET] = ERRORS["500"]()
    for _ in range(4):
        look(house)
        house.restart()
    before = held(house)
    house.store.refused.clear()
    look(house)
    wait(house, timedelta(seconds=90))
    assert held(house) != before


@pytest.mark.parametrize("what", [f"Secret {NAMESPACE}/signingkey", f"ConfigMap {NAMESPACE}/scopewright-jwks"])
@pytest.mark.parametrize("error", ERRORS)
def test_a_signing_key_that_cannot_be_written_is_tried_until_it_succeeds(error: str, what: str) -> None:
    house = House()
    key = house.apply("SigningKey", NAMESPACE, "default")
    house.settle()
    house.pass_time(timedelta(hours=720 - 24))
    house.store.refused[what] = ERRORS[error]()
    look(house, key)
    wait(house, timedelta(minutes=10), key)
    assert len(house.key_records()) <= 2, "retries leave keys behind"
    assert condition(house, "RotationFailing", key)["status"] == "True"
    assert condition(house, "Ready", key)["status"] == "True"
    assert house.due[key] <= house.now + RECOVERY
    house.store.refused.clear()
    wait(house, RECOVERY, key)
    assert not condition(house, "RotationFailing", key)
    assert len(house.key_records()) == 2
    assert len(house.jwks()) == 2
    assert all(record.signing_start_time for record in house.key_records())


@pytest.mark.parametrize("error", ERRORS)
def test_a_revocation_of_keys_that_is_refused_is_tried_until_it_succeeds(error: str) -> None:
    house = House()
    key = house.apply("SigningKey", NAMESPACE, "default")
    house.settle()
    house.pass_time(timedelta(hours=1))
    house.store.refused[f"Secret {NAMESPACE}/signingkey"] = ERRORS[error]()
    before = (house.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    house.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": before})
    look(house, key)
    wait(house, timedelta(minutes=5), key)
    assert condition(house, "Ready", key)["status"] == "False"
    house.store.refused.clear()
    wait(house, RECOVERY, key)
    assert condition(house, "Ready", key)["status"] == "True"
    assert [r.revoked_time is not None for r in house.key_records()] == [True, False]


@pytest.mark.parametrize("error", ["500", "409", "no answer"])
def test_one_request_without_an_answer_leaves_nobody_without_a_key(error: str) -> None:
    """What is revoked goes once a fresh key can sign: a moment later, and not before."""
    house = House()
    key = house.apply("SigningKey", NAMESPACE, "default")
    house.settle()
    house.pass_time(timedelta(hours=1))
    before = (house.now - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    house.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": before})
    failure = ERRORS[error]()
    house.store.fail(failure)
    look(house, key)
    [record] = house.key_records()
    assert record.signs_at(house.now)
    wait(house, RECOVERY, key)
    assert [r.revoked_time is not None for r in house.key_records()] == [True, False]


@pytest.mark.parametrize("error", ERRORS)
def test_a_record_of_a_resource_server_that_is_refused_comes_in_the_end(error: str) -> None:
    house = House()
    key = house.apply("ResourceServer", "payroll", "api", {"scopes": [{"name": "read"}]})
    house.store.refused[f"ConfigMap {NAMESPACE}/resourceserver"] = ERRORS[error]()
    look(house, key)
    wait(house, timedelta(minutes=5), key)
    assert condition(house, "Ready", key)["status"] == "False"
    assert house.due[key] <= house.now + RECOVERY
    house.store.refused.clear()
    wait(house, RECOVERY, key)
    assert house.server_record("payroll", "api")


def test_a_status_that_is_refused_loses_no_event(house: House) -> None:
    house.store.refused["of OAuthClient leave/worker"] = ERRORS["webhook denies"]()
    by_hand(house)
    for _ in range(3):
        assert not look(house)
    assert "CredentialRotated" not in [h.reason for h in house.happened]
    house.store.refused.clear()
    look(house)
    assert [h.reason for h in house.happened].count("CredentialRotated") == 1


def test_pauses_grow_with_jitter_to_a_limit_that_leaves_fifteen_seconds() -> None:
    chances = iter([0.0, 1.0] * 20)
    its = ObjectBackoff(lambda: next(chances))
    waits = [its.failed(WORKER) for _ in range(12)]
    assert waits[0] == pytest.approx(0.15)
    assert waits[1] == pytest.approx(0.5)
    assert max(waits) == pytest.approx(12.5)
    its.succeeded(WORKER)
    assert its.failed(WORKER) < 0.5


def test_thousands_that_fail_are_tried_ten_a_second_in_all() -> None:
    its = ObjectBackoff(lambda: 0.5)
    refs = [Ref("OAuthClient", f"n{n % 7}", f"c{n}") for n in range(2000)]
    for _ in range(16):
        for ref in refs:
            pause = its.failed(ref)
    assert pause == pytest.approx(len(refs) / object_backoff.ATTEMPTS_PER_SECOND, rel=0.01)
    assert its.limit("n1") <= object_backoff.MAX_PAUSE_SECONDS


def test_a_namespace_in_which_thousands_fail_makes_no_other_wait() -> None:
    its = ObjectBackoff(lambda: 1.0)
    for n in range(5000):
        its.failed(Ref("OAuthClient", "crowd", f"c{n}"))
    waits = [its.failed(WORKER) for _ in range(12)]
    assert max(waits) <= RECOVERY.total_seconds()
    assert its.limit("crowd") == object_backoff.MAX_PAUSE_SECONDS
    for n in range(5000):
        its.succeeded(Ref("OAuthClient", "crowd", f"c{n}"))
    assert its.limit("crowd") == object_backoff.USUAL_LIMIT_SECONDS


def test_a_clock_that_is_set_back_holds_nothing_up(house: House) -> None:
    house.store.refused[SECRET] = ERRORS["quota"]()
    by_hand(house)
    look(house)
    house.now -= timedelta(days=1)
    house.store.refused.clear()
    before = held(house)
    look(house)
    assert held(house) != before


def test_the_status_follows_who_refuses_and_not_each_word_of_it(house: House) -> None:
    def said(words: str) -> str:
        house.store.refused[SECRET] = Rejected("AdmissionDenied", words)
        wait(house, timedelta(seconds=20))
        return str(condition(house, "RotationFailing")["message"])

    by_hand(house)
    house.store.refused[SECRET] = Rejected("AdmissionDenied", "webhook a denied the write: 17 ms")
    look(house)
    assert "17 ms" in said("webhook a denied the write: 18 ms")
    assert "webhook b" in said("webhook b denied the write: 19 ms")


def test_one_that_recovers_wakes_what_waits_for_the_same() -> None:
    house = House()
    its = WriteRetries(ObjectBackoff(lambda: 0.5))
    house.apply("OAuthClient", "leave", "worker", SPEC)
    keys = {name: Ref("OAuthClient", *name) for name in (("leave", "a"), ("leave", "b"), ("travel", "c"), ("it", "d"))}
    for (namespace, name), key in keys.items():
        secret = Ref("Secret", namespace, f"{name}-oauth")
        error = ERRORS["quota" if namespace == "it" else "webhook down"]()
        assert isinstance(error, Rejected | Unavailable)
        its.failed(key, Desired(secret, {}), error, (), house.now)
    woken = its.succeeded(keys["leave", "a"], Ref("Secret", "leave", "a-oauth"), house.now)
    assert woken == {keys["leave", "b"], keys["travel", "c"]}
    assert not its.on_hold(keys["leave", "b"], (), house.now)
    assert its.on_hold(keys["it", "d"], (), house.now)


def crowd(
    its: WriteRetries, count: int, error: Rejected | Unavailable, now: datetime, namespace: str = "leave"
) -> list[Ref]:
    keys = [Ref("OAuthClient", namespace, f"c{n}") for n in range(count)]
    for key in keys:
        its.failed(key, Desired(secret_of(key), {}), error, (), now)
    return keys


def secret_of(key: Ref) -> Ref:
    return Ref("Secret", key.namespace, f"{key.name}-oauth")


def test_a_crowd_that_recovers_is_woken_once_each_and_the_longest_waiting_first() -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), House().now
    keys = crowd(its, 500, Unavailable("down", reason="WebhookUnavailable", refused=True), now)
    woken = [its.succeeded(key, secret_of(key), now) for key in keys]
    assert woken[0] == set(keys[1:101])
    assert woken[1] == set(keys[101:201])
    assert sum(map(len, woken)) <= 499
    assert set().union(*woken) == set(keys[1:])


def test_pauses_are_not_cut_again_and_again_by_one_that_fails_and_recovers() -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), House().now
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
def test_one_that_recovers_from_a_refusal_wakes_none_in_another_namespace(reason: str) -> None:
    its, now = WriteRetries(ObjectBackoff(lambda: 0.5)), House().now
    crowd(its, 3, Rejected(reason, "no"), now)
    other = crowd(its, 2, Rejected(reason, "no"), now, "travel")
    assert its.succeeded(other[0], secret_of(other[0]), now) == {other[1]}


def test_a_write_that_was_not_sent_because_another_leads_is_no_failure_of_the_object(house: House) -> None:
    by_hand(house)
    house.store.refused[SECRET] = NotLeading()
    look(house)
    assert not house.reconciler._retries.retry_time(WORKER)
    assert house.condition(WORKER) == "True Provisioned"
