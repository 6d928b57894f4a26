"""A limit on the requests of one process to the API server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

_NEGLIGIBLE_SECONDS: Final = 1e-6
"""Rounding errors are smaller."""


class RateLimit:
    """At most `qps` requests a second, and `burst` at once after a pause; first come, first served."""

    def __init__(
        self,
        qps: float,
        burst: int,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._every = 1 / qps
        self._window = burst / qps
        self._monotonic = monotonic
        self._sleep = sleep
        self._last = float("-inf")
        """When the last request in the queue may be sent."""

    async def wait(self) -> None:
        """Wait until the caller's request may be sent."""
        now = self._monotonic()
        self._last = max(self._last, now - self._window) + self._every
        if (pause := self._last - now) > _NEGLIGIBLE_SECONDS:
            await self._sleep(pause)
