"""Waits that end: what does not happen within its time is an error that says what was waited for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from bench.benchmark import BenchmarkError

PATIENCE: Final = 60.0
"""Seconds: far more than anything takes that goes on at all."""


@asynccontextmanager
async def within(seconds: float, what: str) -> AsyncIterator[None]:
    """`BenchmarkError` where the block takes longer; `what` completes "waited for"."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise BenchmarkError(f"waited {seconds:.0f} s for {what}, which did not come") from None


async def next_second() -> datetime:
    """The next whole second, once it has come by the wall clock: a sleep may end a little early."""
    second = int(time.time()) + 1
    async with within(PATIENCE, "the next second of the wall clock"):
        while (left := second - time.time()) > 0:  # noqa: ASYNC110 (a clock)
            await asyncio.sleep(left)
    return datetime.fromtimestamp(second, UTC)
