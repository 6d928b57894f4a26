"""Quiet: hours in which nothing can happen to the Lease cost nothing.

A leader that renews every second for a day is, at the end of the day, a leader that has renewed a second ago. So
while it is quiet the Lease's pauses do not end, and the monotonic clock of every process that could renew stands
still. Whatever may touch leadership (crash, pause, a broken link) happens while it is not quiet.
"""

import asyncio
from typing import Any

from tests.simulation.loop import RUNNING, VirtualLoop
from tests.simulation.process import Process


class Quiet:
    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._since: float | None = None
        self._over = asyncio.Event()
        self._over.set()
        self.processes: list[Process] = []

    def begin(self) -> None:
        if self._since is None:
            self._since = self._loop.now
            self._over.clear()

    def end(self) -> None:
        if self._since is not None:
            length = self._loop.now - self._since
            for process in self.processes:
                if process.alive and not process.paused:
                    process.skipped += length
            self._since = None
            self._over.set()

    def monotonic(self, process: Process) -> float:
        now = self._loop.now if self._since is None else self._since
        return now - process.skipped

    async def sleep(self, delay: float, result: Any = None) -> Any:
        await self._over.wait()
        await asyncio.sleep(delay)
        await self._over.wait()
        return result


class LeaseAsyncio:
    """In place of the module `asyncio` in `controller.lease`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(delay: float) -> None:
        quiet: Quiet = RUNNING.get().quiet  # type: ignore[union-attr]
        await quiet.sleep(delay)
