"""Keys expire at their times, in order, whatever was replaced or cancelled before."""

import asyncio
import random

import pytest
import uvloop

from scopewright.controller.timers import Timers
from scopewright.core.objects import Ref
from tests.harness.waiting import until

KEYS = [Ref("OAuthClient", "leave", f"c{n}") for n in range(20)]


async def test_keys_expire_once_at_their_earliest_times_in_order() -> None:
    loop, expired = asyncio.get_running_loop(), list[tuple[Ref, float]]()
    timers = Timers(lambda key: expired.append((key, loop.time())))
    chosen, due = random.Random(7), dict[Ref, float]()
    for _ in range(500):
        key, delay = chosen.choice(KEYS), chosen.uniform(0.05, 0.2)
        if chosen.random() < 0.2:
            timers.cancel(key)
            due.pop(key, None)
        else:
            at = loop.time() + delay
            timers.set(key, delay)
            due[key] = min(due.get(key, at), at)
    await until(lambda: len(timers) == 0)
    assert sorted(key for key, _ in expired) == sorted(due)
    for key, at in expired:
        assert -0.001 <= at - due[key] < 1
    assert [at for _, at in expired] == sorted(at for _, at in expired)


async def test_a_key_may_be_set_again_while_it_expires() -> None:
    expired: list[Ref] = []

    def again(key: Ref) -> None:
        expired.append(key)
        if len(expired) < 3:
            timers.set(key, 0.001)

    timers = Timers(again)
    timers.set(KEYS[0], 0.001)
    await until(lambda: len(expired) == 3)
    assert len(timers) == 0


async def test_nothing_expires_after_cancel_all() -> None:
    expired: list[Ref] = []
    timers = Timers(expired.append)
    timers.set(KEYS[0], 0.001)
    timers.cancel_all()
    await asyncio.sleep(0.02)
    assert not expired
    timers.set(KEYS[1], 0.001)
    await until(lambda: expired == [KEYS[1]])


def test_the_loop_wakes_up_about_once_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop, which the operator uses, counts in milliseconds: it may wake up early."""
    wakes = 0
    wake = Timers._wake

    def counted(timers: Timers) -> None:
        nonlocal wakes
        wakes += 1
        wake(timers)

    async def run() -> None:
        timers = Timers(lambda key: None)
        for n, key in enumerate(KEYS):
            timers.set(key, 0.0103 + n * 0.0037)
        await until(lambda: len(timers) == 0)

    monkeypatch.setattr(Timers, "_wake", counted)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    assert wakes <= 2 * len(KEYS)
