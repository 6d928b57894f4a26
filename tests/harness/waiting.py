"""Waits for what no event of asyncio tells: the work of threads, processes and other tasks."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

_LIMIT_SECONDS: Final = 30
"""Only a failure takes as long."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.005)


async def until_answer(ask: Callable[[], Awaitable[object]], seconds: float = _LIMIT_SECONDS) -> None:
    """Wait until the answer to a question is true."""
    async with asyncio.timeout(seconds):
        while not await ask():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.02)


def poll(
    look: Callable[[], T | None], seen: Callable[[], object] = lambda: "", seconds: float = 20, pause: float = 0.02
) -> T:
    """The same outside of asyncio: wait until `look` returns a true value, and return it. A timeout shows `seen()`."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, f"still false after {seconds:.0f} s\n{seen()}"
        time.sleep(pause)
    return found
