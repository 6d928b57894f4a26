"""A process of the simulated simulation: its clock, its link to the API server, its life."""

import asyncio
import contextvars
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from tests.simulation.loop import RUNNING, Paused, VirtualLoop

START: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
EPOCH: Final = START.timestamp()
WRONG: Final = 30.0
"""Seconds that a clock may be off, on either side: two differ by up to a minute."""


class Link:
    """The way to the API server. `down` hangs what is asked, as a network that swallows packets does."""

    def __init__(self) -> None:
        self.down = False
        self.flaky = 0.0
        """How likely a request fails, in one way or another."""
        self.forbidden = False
        self.slow = 0.0
        """Seconds by which watch events come late, at most."""
        self.late = 0.0
        """Seconds by which the answer to a write that is done comes late, at most: after the news of it."""

    @property
    def whole(self) -> bool:
        """Whether what is asked is answered, and what is watched is told at once."""
        return not (self.down or self.flaky or self.forbidden or self.slow)


class Process(Paused):
    """`start` runs `main` in a context that tells the loop, the clock and the link whose code is running."""

    def __init__(self, name: str, loop: VirtualLoop, chance: Random) -> None:
        super().__init__()
        self.name = name
        self.loop = loop
        self.chance = chance
        self.link = Link()
        self.alive = False
        self.incarnation = 0
        self.began = 0.0
        self.skew = 0.0
        self.skipped = 0.0
        """Seconds that did not count for the monotonic clock, because nothing happened in them: see `Quiet`."""
        self.requests = 0
        self.crash_in: int | None = None
        """After so many writes it dies; half of the times the write is still done."""
        self.context = contextvars.copy_context()
        self.context.run(RUNNING.set, self)
        self._task: asyncio.Task[None] | None = None

    def time(self) -> float:
        """Seconds since the epoch, as this process believes."""
        return EPOCH + self.loop.now + self.skew

    def clock(self) -> datetime:
        return START + timedelta(seconds=self.loop.now + self.skew)

    def monotonic(self) -> float:
        return self.loop.now

    def start(self) -> None:
        self.alive = True
        self.incarnation += 1
        self.crash_in = None
        self.began = self.loop.now
        self.skew = self.chance.uniform(-WRONG, WRONG)
        self._task = self.loop.create_task(self.main(), name=self.name, context=self.context)

    async def main(self) -> None:
        raise NotImplementedError

    def die(self) -> None:
        """At once: what it has sent may still arrive, and nothing else of it has any effect any more."""
        self.alive = False
        if self.paused:
            self.loop.wake(self)
        if self._task is not None:
            self._task.cancel()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        return self.loop.create_task(coroutine, context=self.context)


async def ended(*tasks: "asyncio.Task[Any]") -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task
