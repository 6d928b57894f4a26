"""Heartbeat of the API server: a cheap read every few seconds, on a connection of its own.

A quiet watch and one whose packets are dropped look alike, and a request that waits for 30 s looks like a slow one.
The heartbeat's connection is as old as those of the watches, so it fails as they do.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Unavailable

INTERVAL_SECONDS: Final = 3.0
TIMEOUT_SECONDS: Final = 4.0
"""Of one heartbeat: a dead connection is noticed INTERVAL_SECONDS + TIMEOUT_SECONDS after its last answer."""
RETRY_SECONDS: Final = 1.0
"""Pause between heartbeats while there is no answer."""
LOST_AFTER_SECONDS: Final = 10.0
"""Time without any answer after which `/readyz` reports it."""

log = logging.getLogger(__name__)


class Contact:
    """When the API server last answered, whatever its answer."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._clock = clock
        self._at = monotonic()
        self._regained = asyncio.Event()
        self._waiting = 0
        self.last: float = clock()
        """Seconds since the epoch; at first, the start of the process."""

    def answered(self) -> None:
        self._at = self._monotonic()
        self.last = self._clock()

    def regained(self) -> None:
        """Wake retries that wait in `pause`."""
        self._regained.set()
        self._regained = asyncio.Event()

    @property
    def silent_for(self) -> float:
        """Seconds since the last answer."""
        return self._monotonic() - self._at

    @property
    def problem(self) -> str:
        """What `/readyz` says; empty while the API server answers."""
        silent = self.silent_for
        return f"the API server has not answered for {silent:.0f} s" if silent > LOST_AFTER_SECONDS else ""

    async def pause(self, seconds: float) -> None:
        """Sleep, but only until the API server answers again."""
        waiting = asyncio.ensure_future(self._regained.wait())
        try:
            await asyncio.wait([waiting], timeout=seconds)
        finally:
            waiting.cancel()


async def heartbeat(
    contact: Contact,
    ping: Callable[[float], Awaitable[None]],
    reconnect: Callable[[], Awaitable[None]],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Runs without end. `ping` takes its time-out and raises `Unavailable`; `reconnect` closes every connection.

    The first ping is at once, so that its connection is no younger than the others. While there is no answer, each
    failure closes what has been opened since: a new connection may be as dead. Any other failure is logged, and the
    next heartbeat follows: without them nothing notices a dead connection.
    """
    lost_at: float | None = None
    while True:
        began = time.monotonic()
        try:
            if (error := await _unanswered(ping)) is None:
                if lost_at is not None:
                    log.info("the API server answers again, after %.0f s", time.monotonic() - lost_at)
                    lost_at = None
                    contact.regained()
            else:
                if lost_at is None:
                    lost_at = began
                    log.warning("the API server does not answer; reconnecting: %s", error)
                await reconnect()
        except Exception:
            log.exception("the heartbeat failed; it is retried")
        await sleep(RETRY_SECONDS if lost_at is not None else with_jitter(INTERVAL_SECONDS, 0.8, 1.0))


async def _unanswered(ping: Callable[[float], Awaitable[None]]) -> Unavailable | None:
    try:
        await ping(TIMEOUT_SECONDS)
    except Unavailable as error:
        return error
    return None


@asynccontextmanager
async def beating(heart: Awaitable[None]) -> AsyncIterator[None]:
    """Run a heartbeat until the block is left."""
    task = asyncio.ensure_future(heart)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
