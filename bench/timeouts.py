"""Time limits of waits. The error names what was waited for."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final

from bench.benchmark import BenchmarkError

TIMEOUT_SECONDS: Final = 60.0
"""Far more than any wait takes that succeeds."""


@asynccontextmanager
async def time_limit(seconds: float, purpose: str) -> AsyncIterator[None]:
    """Raise `BenchmarkError` if the block takes longer; `purpose` completes "waited … for"."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise BenchmarkError(f"waited {seconds:.0f} s for {purpose}, without success") from None


async def wait_for_next_second() -> datetime:
    """Wait until the next whole second of the wall clock and return it. A sleep may end a little early."""
    second = int(time.time()) + 1
    async with time_limit(TIMEOUT_SECONDS, "the next second of the wall clock"):
        while (left := second - time.time()) > 0:  # noqa: ASYNC110 (a clock)
            await asyncio.sleep(left)
    return datetime.fromtimestamp(second, UTC)
