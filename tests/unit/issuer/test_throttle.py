"""Failures are counted by address. A correct credential is never throttled."""

from collections.abc import AsyncIterator

import orjson
import pytest

from scopewright.issuer.authentication.throttle import FAILURE_BUDGET, FailureThrottle
from scopewright.rate_budget import RateBudget
from tests.harness.clock import Clock
from tests.harness.issuer import IssuerHarness


def throttled(throttle: FailureThrottle, peer: str) -> bool:
    return throttle.is_exhausted(peer)


def test_failures_of_an_address_are_limited_and_the_budget_refills() -> None:
    clock = Clock()
    throttle = FailureThrottle(clock, budget=RateBudget(rate=1.0, burst=3))
    for _ in range(3):
        assert not throttled(throttle, "192.0.2.1")
        throttle.record_failure("192.0.2.1")
    assert throttled(throttle, "192.0.2.1")
    assert not throttled(throttle, "192.0.2.2")
    clock.advance(seconds=1)
    assert not throttled(throttle, "192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("odd:address", "odd:address", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ],
)
def test_ipv6_network_shares_one_budget(one: str, other: str, same: bool) -> None:
    throttle = FailureThrottle(Clock(), budget=RateBudget(rate=1.0, burst=1))
    throttle.record_failure(one)
    assert throttled(throttle, other) is same


def test_number_of_remembered_addresses_is_bounded() -> None:
    throttle = FailureThrottle(Clock(), budget=RateBudget(rate=1.0, burst=1), capacity=2)
    for peer in ("a", "b", "a", "c"):
        throttle.record_failure(peer)
    assert not throttled(throttle, "b")
    assert throttled(throttle, "a")


async def test_flood_is_throttled_and_the_correct_secret_is_accepted(harness: IssuerHarness) -> None:
    answers = [await harness.token(secret="wrong") for _ in range(2 * FAILURE_BUDGET.burst)]
    assert {answer.status_code for answer in answers[: FAILURE_BUDGET.burst]} == {401}
    flooded = [answer for answer in answers if answer.status_code == 503]
    assert flooded
    assert flooded[-1].headers["retry-after"] == "1"
    assert (await harness.token()).status_code == 200


def counted(harness: IssuerHarness, result: str) -> float:
    [found] = [
        sample.value
        for family in harness.issuer.metrics.collect()
        for sample in family.samples
        if sample.name == "scopewright_issuer_requests_total"
        and sample.labels == {"handler": "token", "result": result}
    ]
    return found


@pytest.fixture
async def flooded() -> AsyncIterator[IssuerHarness]:
    """An issuer whose read budget is exhausted."""
    harness = IssuerHarness(read_budget=RateBudget(rate=0.0, burst=0))
    harness.install_defaults()
    async with harness.running():
        yield harness


async def test_throttled_requests_are_counted_separately_from_failures_and_get_the_same_response(
    flooded: IssuerHarness,
) -> None:
    """Otherwise callers could trigger an alert, and responses would show failures."""
    answers = [await flooded.token(client_id, "wrong") for client_id in ("leave.made-up-3", "leave.leave-worker")]
    assert {(a.status_code, a.json()["error"]) for a in answers} == {(503, "temporarily_unavailable")}
    assert counted(flooded, "slowed") == 2
    assert counted(flooded, "temporarily_unavailable") == 0
    lines = [line for line in map(orjson.loads, flooded.audit_lines) if line["result"] == "slowed"]
    assert [line["reason"] for line in lines] == ["too_many_refusals"] * 2


async def test_unavailable_store_is_counted_as_a_failure_during_a_flood(flooded: IssuerHarness) -> None:
    flooded.store.unavailable = True
    slowed, failed = [await flooded.token(c, "wrong") for c in ("leave.made-up-3", "leave.leave-worker")]
    assert (slowed.status_code, failed.status_code) == (503, 503)
    assert slowed.content == failed.content
    assert slowed.headers == failed.headers
    assert counted(flooded, "slowed") == 1
    assert counted(flooded, "temporarily_unavailable") == 1
    line = orjson.loads(flooded.audit_lines[-1])
    assert (line["result"], line["reason"]) == ("temporarily_unavailable", "store_unavailable")
