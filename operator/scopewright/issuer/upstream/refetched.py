"""A value of a provider that is fetched on first use, and again when it is old."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from scopewright.upstream import UpstreamFailed

T = TypeVar("T")
Timer = Callable[[], float]
"""Seconds that only increase, as `time.monotonic`."""

RETRY_SECONDS: Final = 60.0
"""Between two fetches of a value that is old, and whose fetch failed."""


class Refetched(Generic[T]):
    """One fetch at a time, for all that wait for it. A value stays in use while its next fetch fails.

    `fetch` gets the current value, if any, and raises `UpstreamFailed`. The fetch goes on if its caller is cancelled.
    """

    def __init__(
        self, fetch: Callable[[T | None], Awaitable[T]], max_age: float, timer: Timer = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._timer = timer
        self._value: T | None = None
        self._old_at = 0.0
        self._flight: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the value; an old one at once, while it is fetched in the background. Raises `UpstreamFailed`."""
        if self._value is None:
            return await self.refetch()
        if self._timer() >= self._old_at:
            self._begin()
        return self._value

    @property
    def is_fetching(self) -> bool:
        return self._flight is not None

    async def refetch(self) -> T:
        """Return the value of a fetch that ends after this call. Raises `UpstreamFailed`."""
        return await asyncio.shield(self._begin())

    def close(self) -> None:
        if self._flight is not None:
            self._flight.cancel()

    def _begin(self) -> "asyncio.Task[T]":
        if self._flight is None:
            self._flight = asyncio.create_task(self._run())
            self._flight.add_done_callback(self._end)
        return self._flight

    async def _run(self) -> T:
        try:
            value = await self._fetch(self._value)
        except UpstreamFailed:
            self._old_at = self._timer() + RETRY_SECONDS
            raise
        self._value, self._old_at = value, self._timer() + self._max_age
        return value

    def _end(self, flight: "asyncio.Task[T]") -> None:
        self._flight = None
        if not flight.cancelled():
            flight.exception()  # retrieved, also if no request waits for it any more
