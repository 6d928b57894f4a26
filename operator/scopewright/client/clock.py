"""Time as an argument, so that a test can control it."""

import asyncio
import time


class Clock:
    """Real time, in seconds. A test overrides `now`, `wait` and `wait_async`."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    async def wait_async(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
