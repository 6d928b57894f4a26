"""How many requests of the issuer one provider may keep busy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from scopewright.upstream import UpstreamFailed

CONCURRENT: Final = 16
WAITING: Final = 64
WAIT_SECONDS: Final = 2.0


class RequestSlots:
    """At most `concurrent` requests at once, and `waiting` that wait for at most `seconds`: a slow provider takes
    neither the memory nor the time of the others.
    """

    def __init__(self, concurrent: int = CONCURRENT, waiting: int = WAITING, seconds: float = WAIT_SECONDS) -> None:
        self._free = asyncio.Semaphore(concurrent)
        self._may_wait = waiting
        self._seconds = seconds

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Raises `UpstreamFailed`."""
        if self._free.locked() and self._may_wait <= 0:
            raise _busy()
        self._may_wait -= 1
        try:
            async with asyncio.timeout(self._seconds):
                await self._free.acquire()
        except TimeoutError:
            raise _busy() from None
        finally:
            self._may_wait += 1
        try:
            yield
        finally:
            self._free.release()


def _busy() -> UpstreamFailed:
    return UpstreamFailed("Unreachable", "the provider answers too slowly: too many requests wait for it")
