"""Skips the renewals of the Lease during hours in which leadership cannot change.

A leader that renewed every second for a day is in the same state as one that renewed a second ago. So while the pause
lasts, sleeps of `controller.lease` do not end, and the monotonic clock of every process that could renew stands still.
Faults that may change leadership (crash, suspension, broken link) end the pause first.
"""

import asyncio
from typing import Any

from tests.simulation.loop import RUNNING, VirtualLoop
from tests.simulation.process import Process


class LeasePause:
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
                    process.skipped_seconds += length
            self._since = None
            self._over.set()

    def monotonic(self, process: Process) -> float:
        now = self._loop.now if self._since is None else self._since
        return now - process.skipped_seconds

    async def sleep(self, delay: float, result: Any = None) -> Any:
        await self._over.wait()
        await asyncio.sleep(delay)
        await self._over.wait()
        return result


class LeaseAsyncio:
    """Replaces the module `asyncio` in `controller.lease`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(delay: float) -> None:
        pause: LeasePause = RUNNING.get().lease_pause  # type: ignore[union-attr]
        await pause.sleep(delay)
