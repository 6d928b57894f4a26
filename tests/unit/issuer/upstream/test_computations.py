"""Computations in threads: how many run, wait and are refused, also when their callers are cancelled."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scopewright.issuer.upstream.computations import CONCURRENCY, NICE, QUEUE, Computations
from scopewright.issuer.upstream.login import PasswordsBusy
from tests.harness.issuer import settle
from tests.harness.waiting import until


class Held:
    """Computations that run until `release`."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._go_on = threading.Event()
        self.begun = 0
        self.running = 0
        self.most = 0

    def __call__(self) -> bool:
        with self._mutex:
            self.begun += 1
            self.running += 1
            self.most = max(self.most, self.running)
        assert self._go_on.wait(5)
        with self._mutex:
            self.running -= 1
        return True

    def release(self) -> None:
        self._go_on.set()


@asynccontextmanager
async def full(computations: Computations, held: Held) -> AsyncIterator[list[asyncio.Task[bool]]]:
    """All places taken. The computations are released at the end."""
    tasks = [asyncio.create_task(computations.run(held)) for _ in range(CONCURRENCY + QUEUE)]
    try:
        await until(lambda: held.begun == CONCURRENCY)
        yield tasks
    finally:
        held.release()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_two_run_twenty_wait_and_more_are_refused() -> None:
    computations, held = Computations(), Held()
    async with full(computations, held) as tasks:
        with pytest.raises(PasswordsBusy):
            await computations.run(held)
        held.release()
        assert await asyncio.gather(*tasks) == [True] * 22
    assert (held.begun, held.most) == (22, 2)
    assert await computations.run(lambda: False) is False


async def test_a_cancelled_caller_gives_up_its_place_in_the_queue() -> None:
    computations, held = Computations(), Held()
    async with full(computations, held) as tasks:
        tasks[-1].cancel()
        await settle()
        tasks.append(asyncio.create_task(computations.run(held)))
        await settle()
        assert not tasks[-1].done()
        with pytest.raises(PasswordsBusy):
            await computations.run(held)
    assert held.begun == 22


async def test_a_computation_whose_caller_is_cancelled_keeps_its_place_until_it_ends() -> None:
    computations, held = Computations(), Held()
    async with full(computations, held) as tasks:
        for task in tasks[:CONCURRENCY]:
            task.cancel()
        await settle()
        assert all(task.cancelled() for task in tasks[:CONCURRENCY])
        assert held.begun == CONCURRENCY
        with pytest.raises(PasswordsBusy):
            await computations.run(held)
        held.release()
        assert await asyncio.gather(*tasks[CONCURRENCY:]) == [True] * QUEUE
    assert held.most == CONCURRENCY


async def test_a_turn_that_does_not_come_is_refused_and_frees_its_place() -> None:
    """22 of the most expensive hashes would take longer than a request may."""
    computations, held = Computations(concurrency=1, queue=1, turn_seconds=0.01), Held()
    running = asyncio.create_task(computations.run(held))
    await until(lambda: held.begun == 1)
    for _ in range(3):
        with pytest.raises(PasswordsBusy):
            await computations.run(held)
    held.release()
    assert await running
    assert await computations.run(held)
    assert held.begun == 2


async def test_a_failure_frees_its_place() -> None:
    computations = Computations(concurrency=1, queue=0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await computations.run(lambda: 1 / 0 > 0)
    assert await computations.run(lambda: True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no priorities of threads")
async def test_computations_leave_the_processor_to_requests() -> None:
    """With the same priority, two expensive hashes at a time make tokens many times slower on two busy processors."""
    priorities = list[int]()

    def compute() -> bool:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    assert await Computations().run(compute)
    assert priorities == [max(own, NICE)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own
