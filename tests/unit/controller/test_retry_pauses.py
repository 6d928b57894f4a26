"""Pauses between retries: they grow to a limit, and end early when another object with the same cause recovers."""

import logging
from datetime import datetime, timedelta

import pytest

from scopewright.controller import object_backoff
from scopewright.controller.object_backoff import ObjectBackoff
from scopewright.controller.write_retries import WriteRetries
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import Desired, Ref
from tests.harness.clock import START

WORKER = Ref("OAuthClient", "leave", "worker")
RECOVERY_SECONDS = 15
WEBHOOK_DOWN = Unavailable("down", reason="WebhookUnavailable", refused=True)
QUOTA = Rejected("QuotaExceeded", "exceeded quota: secrets")


def test_pauses_grow_with_jitter_and_stay_below_fifteen_seconds() -> None:
    jitter = iter([0.0, 1.0] * 20)
    backoff = ObjectBackoff(lambda: next(jitter))
    waits = [backoff.failed(WORKER) for _ in range(12)]
    assert waits[0] == pytest.approx(0.15)
    assert waits[1] == pytest.approx(0.5)
    assert max(waits) == pytest.approx(12.5)
    backoff.succeeded(WORKER)
    assert backoff.failed(WORKER) < 0.5


def test_thousands_of_failing_objects_are_retried_at_ten_a_second() -> None:
    backoff = ObjectBackoff(lambda: 0.5)
    refs = [Ref("OAuthClient", f"n{n % 7}", f"c{n}") for n in range(2000)]
    for _ in range(16):
        for ref in refs:
            pause = backoff.failed(ref)
    assert pause == pytest.approx(len(refs) / object_backoff.ATTEMPTS_PER_SECOND, rel=0.01)
    assert backoff.limit("n1") <= object_backoff.MAX_PAUSE_SECONDS


def test_thousands_of_failures_in_one_namespace_do_not_delay_another() -> None:
    backoff = ObjectBackoff(lambda: 1.0)
    for n in range(5000):
        backoff.failed(Ref("OAuthClient", "crowd", f"c{n}"))
    waits = [backoff.failed(WORKER) for _ in range(12)]
    assert max(waits) <= RECOVERY_SECONDS
    assert backoff.limit("crowd") == object_backoff.MAX_PAUSE_SECONDS
    for n in range(5000):
        backoff.succeeded(Ref("OAuthClient", "crowd", f"c{n}"))
    assert backoff.limit("crowd") == object_backoff.USUAL_LIMIT_SECONDS


def test_a_recovered_object_wakes_those_that_fail_for_the_same_cause() -> None:
    retries = WriteRetries(ObjectBackoff(lambda: 0.5))
    keys = {name: Ref("OAuthClient", *name) for name in (("leave", "a"), ("leave", "b"), ("travel", "c"), ("it", "d"))}
    for (namespace, name), key in keys.items():
        secret = Ref("Secret", namespace, f"{name}-oauth")
        error = QUOTA if namespace == "it" else WEBHOOK_DOWN
        retries.failed(key, Desired(secret, {}), error, (), START)
    woken = retries.succeeded(keys["leave", "a"], Ref("Secret", "leave", "a-oauth"), START)
    assert woken == {keys["leave", "b"], keys["travel", "c"]}
    assert not retries.on_hold(keys["leave", "b"], (), START)
    assert retries.on_hold(keys["it", "d"], (), START)


def fail_many(
    retries: WriteRetries, count: int, error: Rejected | Unavailable, now: datetime, namespace: str = "leave"
) -> list[Ref]:
    keys = [Ref("OAuthClient", namespace, f"c{n}") for n in range(count)]
    for key in keys:
        retries.failed(key, Desired(secret_of(key), {}), error, (), now)
    return keys


def secret_of(key: Ref) -> Ref:
    return Ref("Secret", key.namespace, f"{key.name}-oauth")


def test_many_recovering_objects_are_woken_once_each_the_longest_waiting_first() -> None:
    retries, now = WriteRetries(ObjectBackoff(lambda: 0.5)), START
    keys = fail_many(retries, 500, WEBHOOK_DOWN, now)
    woken = [retries.succeeded(key, secret_of(key), now) for key in keys]
    assert woken[0] == set(keys[1:101])
    assert woken[1] == set(keys[101:201])
    assert sum(map(len, woken)) <= 499
    assert set().union(*woken) == set(keys[1:])


def test_an_object_that_fails_and_recovers_shortens_the_pauses_of_others_once() -> None:
    retries, now = WriteRetries(ObjectBackoff(lambda: 0.5)), START
    error = WEBHOOK_DOWN
    for _ in range(6):
        others = fail_many(retries, 3, error, now)
    flapping = Ref("OAuthClient", "evil", "x")
    woken: list[Ref] = []
    for _ in range(10):
        retries.failed(flapping, Desired(secret_of(flapping), {}), error, (), now)
        woken += retries.succeeded(flapping, secret_of(flapping), now)
        now += timedelta(milliseconds=100)
    assert sorted(woken) == sorted(others)


@pytest.mark.parametrize("reason", ["QuotaExceeded", "AdmissionDenied", "Refused", "Forbidden"])
def test_an_object_that_recovers_from_a_refusal_wakes_none_in_another_namespace(reason: str) -> None:
    retries, now = WriteRetries(ObjectBackoff(lambda: 0.5)), START
    fail_many(retries, 3, Rejected(reason, "no"), now)
    other = fail_many(retries, 2, Rejected(reason, "no"), now, "travel")
    assert retries.succeeded(other[0], secret_of(other[0]), now) == {other[1]}


def test_only_a_conflict_that_repeats_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    retries = WriteRetries(ObjectBackoff(lambda: 0.5))
    write = Desired(Ref("ConfigMap", "scopewright-system", "scopewright-jwks"), {})
    for _ in range(2):
        retries.failed(WORKER, write, Conflict("it has changed since it was read"), (), START)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING"]
