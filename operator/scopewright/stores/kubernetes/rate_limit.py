"""A limit on the requests of one process to the API server."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

_NOTHING: Final = 1e-6
"""Seconds that rounding makes of none."""


class RateLimit:
    """So many requests a second, and so many at once after a pause; who comes first goes first."""

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
        """When the request that came last may go."""

    async def wait(self) -> None:
        """Until the request that asks may go."""
        now = self._monotonic()
        self._last = max(self._last, now - self._window) + self._every
        if (pause := self._last - now) > _NOTHING:
            await self._sleep(pause)
