"""Failures are counted by address; nobody who is right is counted, and nobody is told to be wrong for it."""

import pytest

from scopewright.core.failures import Unavailable
from scopewright.issuer.fresh import Budget
from scopewright.issuer.throttle import PER_ADDRESS, FailureThrottle
from tests.unit.issuer.world import World


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def throttled(throttle: FailureThrottle, peer: str) -> bool:
    try:
        throttle.check(peer, known=True)
    except Unavailable:
        return True
    return False


def test_an_address_has_so_many_failures_and_gets_them_back() -> None:
    clock = Seconds()
    throttle = FailureThrottle(clock, budget=Budget(rate=1.0, burst=3))
    for _ in range(3):
        assert not throttled(throttle, "192.0.2.1")
        throttle.failed("192.0.2.1", known=True)
    assert throttled(throttle, "192.0.2.1")
    assert not throttled(throttle, "192.0.2.2")
    clock.now = 1.0
    assert not throttled(throttle, "192.0.2.1")


def test_made_up_ids_use_up_nothing_of_known_ones() -> None:
    throttle = FailureThrottle(Seconds(), budget=Budget(rate=1.0, burst=1))
    throttle.failed("192.0.2.1", known=False)
    assert not throttled(throttle, "192.0.2.1")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::2:3", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("odd:address", "odd:address", True),
    ],
)
def test_an_ipv6_network_is_one_caller(one: str, other: str, same: bool) -> None:
    throttle = FailureThrottle(Seconds(), budget=Budget(rate=1.0, burst=1))
    throttle.failed(one, known=True)
    assert throttled(throttle, other) is same


def test_only_so_many_addresses_are_remembered() -> None:
    throttle = FailureThrottle(Seconds(), budget=Budget(rate=1.0, burst=1), capacity=2)
    for peer in ("a", "b", "a", "c"):
        throttle.failed(peer, known=True)
    assert not throttled(throttle, "b")
    assert throttled(throttle, "a")


async def test_a_flood_is_told_to_wait_and_the_right_secret_is_let_in(world: World) -> None:
    answers = [await world.token(secret="wrong") for _ in range(2 * PER_ADDRESS.burst)]
    assert {answer.status_code for answer in answers[: PER_ADDRESS.burst]} == {401}
    flooded = [answer for answer in answers if answer.status_code == 503]
    assert flooded
    assert flooded[-1].headers["retry-after"] == "1"
    assert (await world.token()).status_code == 200
