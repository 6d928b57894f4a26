"""One namespace does not delay another, however many objects it has and however long they take."""

import asyncio
from datetime import UTC, datetime

from scopewright.controller.queue import Queue
from scopewright.core.objects import Ref
from tests.harness.waiting import until

MANY = [Ref("OAuthClient", "greedy", f"c{n}") for n in range(1000)]
ONE = Ref("OAuthClient", "modest", "c")


def now() -> datetime:
    return datetime.now(UTC)


async def test_a_thousand_objects_of_one_namespace_do_not_delay_the_one_of_another() -> None:
    seen: list[Ref] = []

    async def work(key: Ref) -> None:
        seen.append(key)
        await asyncio.sleep(0)

    queue = Queue(work, now, workers=1)
    for key in (*MANY, ONE):
        queue.add(key)
    task = asyncio.create_task(queue.run())
    await until(lambda: queue.idle)
    queue.stop()
    await task
    assert seen.index(ONE) == 1
    assert seen[0] == MANY[0]
    assert [key for key in seen if key != ONE] == MANY, "not in order, or not each once"


async def test_an_object_of_another_namespace_is_next_while_one_is_busy() -> None:
    seen: list[Ref] = []

    async def work(key: Ref) -> None:
        seen.append(key)
        if len(seen) == 100:
            queue.add(ONE)
        await asyncio.sleep(0)

    queue = Queue(work, now, workers=2)
    for key in MANY:
        queue.add(key)
    task = asyncio.create_task(queue.run())
    await until(lambda: ONE in seen)
    queue.stop()
    await task
    assert seen.index(ONE) < 105


async def test_a_namespace_with_slow_reconciliations_leaves_workers_to_others() -> None:
    """Three namespaces with a webhook that does not answer, and 24 workers."""
    gate, running, seen = asyncio.Event(), 0, asyncio.Event()

    async def work(key: Ref) -> None:
        nonlocal running
        if key.namespace == "modest":
            seen.set()
            return
        running += 1
        await gate.wait()

    queue = Queue(work, now, workers=24)
    task = asyncio.create_task(queue.run())
    for namespace in ("a", "b", "c"):
        for n in range(100):
            queue.add(Ref("OAuthClient", namespace, f"c{n}"))
        await asyncio.sleep(0.01)
    assert 12 <= running < 24
    queue.add(ONE)
    async with asyncio.timeout(10):
        await seen.wait()
    gate.set()
    queue.stop()
    await task
