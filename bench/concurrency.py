"""Doing one thing to many, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


async def spread(
    things: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int, done: Callable[[int], None]
) -> None:
    """Do `work` to each. The first failure ends it. `done` hears how many are behind us, now and then."""
    waiting = iter(things)
    count = 0

    async def worker() -> None:
        nonlocal count
        for thing in waiting:
            await work(thing)
            count += 1
            if count % 50 == 0:
                done(count)

    workers = [asyncio.create_task(worker()) for _ in range(at_once)]
    try:
        await asyncio.gather(*workers)
    finally:
        for task in workers:
            task.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    done(count)
