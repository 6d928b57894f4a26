"""A simulated process: its clock, its link to the API server, start and end."""

import asyncio
import contextvars
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from tests.simulation.loop import RUNNING, PausableProcess, VirtualLoop

START: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH: Final = START.timestamp()
MAX_CLOCK_ERROR_SECONDS: Final = 30.0
"""On either side, so that two clocks differ by up to a minute."""


class Link:
    """The link to the API server. While it is `down`, requests hang, as in a network that drops packets."""

    def __init__(self) -> None:
        self.down = False
        self.flaky = 0.0
        """Probability that a request fails."""
        self.forbidden = False
        self.slow = 0.0
        """Longest delay of watch events, in seconds."""
        self.late = 0.0
        """Longest delay of the answer to a write, in seconds: it comes after the watch event."""

    @property
    def healthy(self) -> bool:
        """Whether requests are answered, and watch events are delivered, without delay."""
        return not (self.down or self.flaky or self.forbidden or self.slow)


class Process(PausableProcess):
    """`start` runs `main` in a context that names this process, for the loop, the clock and the link."""

    def __init__(self, name: str, loop: VirtualLoop, rng: Random) -> None:
        super().__init__()
        self.name = name
        self.loop = loop
        self.rng = rng
        self.link = Link()
        self.alive = False
        self.incarnation = 0
        self.started = 0.0
        self.skew = 0.0
        self.skipped_seconds = 0.0
        """Seconds for which the monotonic clock stood still: see `LeasePause`."""
        self.writes_until_crash: int | None = None
        """It crashes with the write after these; in half of the cases that write is still carried out."""
        self.context = contextvars.copy_context()
        self.context.run(RUNNING.set, self)
        self._task: asyncio.Task[None] | None = None

    def time(self) -> float:
        """Seconds since the epoch, by this process's clock."""
        return EPOCH + self.loop.now + self.skew

    def clock(self) -> datetime:
        return START + timedelta(seconds=self.loop.now + self.skew)

    def monotonic(self) -> float:
        return self.loop.now

    def start(self) -> None:
        self.alive = True
        self.incarnation += 1
        self.writes_until_crash = None
        self.started = self.loop.now
        self.skew = self.rng.uniform(-MAX_CLOCK_ERROR_SECONDS, MAX_CLOCK_ERROR_SECONDS)
        self._task = self.loop.create_task(self.main(), name=self.name, context=self.context)

    async def main(self) -> None:
        raise NotImplementedError

    def kill(self) -> None:
        """SIGKILL: requests in flight may still arrive; nothing else of the process has an effect."""
        self.alive = False
        if self.paused:
            self.loop.resume(self)
        if self._task is not None:
            self._task.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self.loop.create_task(coroutine, context=self.context)
