"""Each key is at most once in the queue, with at most one worker; failed keys are retried, and none is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from scopewright.controller import object_backoff
from scopewright.controller.queue import Queue
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from tests.harness.waiting import until

KEYS = [Ref("OAuthClient", "leave", f"c{n}") for n in range(6)]
KEY = KEYS[0]
Work = Callable[[Ref], Awaitable[datetime | None]]


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def running(work: Work, workers: int = 4) -> AsyncIterator[Queue]:
    queue = Queue(work, now, workers=workers)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        queue.stop()
        await asyncio.wait_for(task, 2)


async def test_a_key_that_waits_is_not_queued_twice() -> None:
    seen: list[Ref] = []

    async def work(key: Ref) -> None:
        seen.append(key)

    queue = Queue(work, now, workers=1)
    for _ in range(5):
        queue.add(KEY)
    assert queue.depth == 1
    task = asyncio.create_task(queue.run())
    await until(lambda: queue.idle)
    assert seen == [KEY]
    queue.stop()
    await task


async def test_a_key_that_is_added_during_its_reconciliation_is_reconciled_once_more() -> None:
    seen = 0
    go = asyncio.Event()

    async def work(key: Ref) -> None:
        nonlocal seen
        seen += 1
        await go.wait()

    async with running(work) as queue:
        queue.add(KEY)
        await until(lambda: seen == 1)
        for _ in range(3):
            queue.add(KEY)
        go.set()
        await until(lambda: seen == 2 and queue.idle)
        await asyncio.sleep(0.02)
        assert seen == 2


@pytest.mark.parametrize("seed", range(8))
async def test_each_key_has_one_worker_and_is_reconciled_after_each_addition(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_backoff, "FIRST_PAUSE_SECONDS", 0.001)
    chance = random.Random(seed)
    busy: Counter[Ref] = Counter()
    asked: dict[Ref, int] = dict.fromkeys(KEYS, 0)
    met: dict[Ref, int] = dict.fromkeys(KEYS, 0)

    async def work(key: Ref) -> None:
        busy[key] += 1
        assert busy[key] == 1
        seen = asked[key]
        for _ in range(chance.randrange(3)):
            await asyncio.sleep(0)
        busy[key] -= 1
        if chance.random() < 0.2:
            raise Unavailable("not now", retry_after=0)
        met[key] = max(met[key], seen)

    async with running(work) as queue:
        for _ in range(200):
            key = chance.choice(KEYS)
            asked[key] += 1
            queue.add(key, chance.choice([0, 0, 0, 0.001]))
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        await until(lambda: met == asked)


@pytest.mark.parametrize("error", [Unavailable("x", retry_after=0), Rejected("R", "x"), RuntimeError("a bug")])
async def test_a_failed_key_is_retried_after_growing_pauses(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_backoff, "FIRST_PAUSE_SECONDS", 0.01)
    loop, times = asyncio.get_running_loop(), []

    async def work(key: Ref) -> None:
        times.append(loop.time())
        if len(times) < 5:
            raise error

    async with running(work) as queue:
        queue.add(KEY)
        await until(lambda: len(times) == 5)
        waits = [b - a for a, b in pairwise(times)]
        assert all(wait >= 0.0074 * 2**n for n, wait in enumerate(waits))
        await asyncio.sleep(0.03)
        assert len(times) == 5


async def test_success_forgets_the_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_backoff, "FIRST_PAUSE_SECONDS", 0.001)
    runs = 0

    async def work(key: Ref) -> None:
        nonlocal runs
        runs += 1
        if runs in (1, 2, 3):
            raise Unavailable("x", retry_after=0)

    async with running(work) as queue:
        queue.add(KEY)
        await until(lambda: runs == 4 and queue.idle)
        assert queue._pauses._failures == {}


async def test_the_pause_that_the_server_asks_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_backoff, "FIRST_PAUSE_SECONDS", 0.001)
    loop, times = asyncio.get_running_loop(), []

    async def work(key: Ref) -> None:
        times.append(loop.time())
        if len(times) == 1:
            raise Unavailable("busy", retry_after=0.05)

    async with running(work) as queue:
        queue.add(KEY)
        await until(lambda: len(times) == 2)
        assert times[1] - times[0] >= 0.049


async def test_a_key_is_reconciled_at_its_due_time() -> None:
    times: list[datetime] = []

    async def work(key: Ref) -> datetime | None:
        times.append(now())
        return now() + timedelta(milliseconds=20) if len(times) == 1 else None

    async with running(work) as queue:
        queue.add(KEY)
        await until(lambda: len(times) == 2)
        assert times[1] - times[0] >= timedelta(milliseconds=20)


async def test_an_earlier_time_replaces_a_later_one() -> None:
    runs = 0

    async def work(key: Ref) -> datetime | None:
        nonlocal runs
        runs += 1
        return now() + timedelta(hours=1)

    async with running(work) as queue:
        queue.add(KEY, 60)
        queue.add(KEY, 0.01)
        await until(lambda: runs == 1)
        queue.add(KEY)
        await until(lambda: runs == 2)
        assert len(queue._timers) == 1


async def test_stop_finishes_running_reconciliations_and_starts_none() -> None:
    begun, done = [], []
    go = asyncio.Event()

    async def work(key: Ref) -> None:
        begun.append(key)
        await go.wait()
        done.append(key)

    queue = Queue(work, now, workers=4)
    task = asyncio.create_task(queue.run())
    for key in KEYS:
        queue.add(key)
    await until(lambda: len(begun) == 2)
    queue.stop()
    await asyncio.sleep(0.01)
    assert not task.done()
    go.set()
    await asyncio.wait_for(task, 2)
    assert begun == done == KEYS[:2]


async def test_a_key_waits_for_a_queued_predecessor_and_not_for_its_retry() -> None:
    first, second = KEYS[:2]
    begun: list[Ref] = []
    go = asyncio.Event()

    async def work(key: Ref) -> None:
        begun.append(key)
        if key == first and not go.is_set():
            await go.wait()
            raise Unavailable("what it waited for may fail")

    queue = Queue(work, now, after={second: first}.get, workers=3)
    task = asyncio.create_task(queue.run())
    for key in (second, first, *KEYS[2:]):
        queue.add(key)
    await until(lambda: len(begun) == len(KEYS) - 1)
    queue.add(second)
    await asyncio.sleep(0.01)
    assert second not in begun
    assert not queue.idle
    go.set()
    await until(lambda: begun.count(first) == 2 and queue.idle)
    assert begun.count(second) == 1
    assert begun.index(second) < len(begun) - 1, "the key waited for the retry of its predecessor"
    queue.stop()
    await asyncio.wait_for(task, 2)


async def test_replaced_timers_are_removed() -> None:
    async def work(key: Ref) -> None:
        return None

    queue = Queue(work, now)
    for n in range(20_000):
        queue.add(KEY, 100 - n / 1000)
    assert len(queue._timers) == 1
    assert len(queue._timers._order) < 5000


async def test_reconciliations_that_wait_for_nothing_take_turns_with_other_tasks() -> None:
    """After a start thousands of keys need no write: the Lease must be renewed meanwhile."""
    reconciled = 0

    async def work(key: Ref) -> None:
        nonlocal reconciled
        reconciled += 1

    workers, keys = 4, [Ref("OAuthClient", f"n{n % 7}", f"c{n}") for n in range(1000)]
    async with running(work, workers) as queue:
        for key in keys:
            queue.add(key)
        while not queue.idle:
            before = reconciled
            await asyncio.sleep(0)
            assert reconciled - before <= workers
    assert reconciled == len(keys)
