"""Runs one coroutine function for many items with bounded concurrency."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def for_each(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, concurrency: int, done: Callable[[int], None]
) -> None:
    """Await `work` for each item. The first exception ends it. `done` gets the number completed, every 50 items."""
    remaining = iter(items)
    count = 0

    async def worker() -> None:
        nonlocal count
        for item in remaining:
            await work(item)
            count += 1
            if count % 50 == 0:
                done(count)

    workers = [asyncio.create_task(worker()) for _ in range(concurrency)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    done(count)
