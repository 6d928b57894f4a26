"""An event loop whose time jumps to the next timer: real asynchronous code runs unchanged, and nothing ever sleeps.

Every callback belongs to a process (by a context variable). One that is paused, as by SIGSTOP, runs nothing until it
is woken; what comes for it meanwhile waits in order.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any


class Paused:
    """What a loop knows of a process."""

    def __init__(self) -> None:
        self.paused = False
        self.held: list[Any] = []


RUNNING: ContextVar[Paused | None] = ContextVar("running", default=None)


class Deadlock(Exception):
    """Nothing can ever happen any more: the simulation itself is wrong."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Single-threaded and deterministic: no sockets, no signals, no threads."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self._ready: deque[Any]
        self._scheduled: list[Any]
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now

    def wake(self, process: Paused) -> None:
        process.paused = False
        self._ready.extend(process.held)
        process.held = []

    def run_out(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Until this is done."""
        task = self.create_task(coroutine)
        while not task.done():
            self._run_once()
        task.result()

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled
        if not ready:
            while scheduled and scheduled[0]._cancelled:
                heapq.heappop(scheduled)._scheduled = False
            if not scheduled:
                raise Deadlock("nothing is ready, and no timer is set")
            self.now = max(self.now, scheduled[0]._when)
        while scheduled and scheduled[0]._when <= self.now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            self.steps += 1
            process = handle._context.get(RUNNING)
            if process is not None and process.paused:
                process.held.append(handle)
            else:
                handle._run()

    def _process_events(self, event_list: list[Any]) -> None:
        raise NotImplementedError

    def _write_to_self(self) -> None:
        """Nobody else could wake it: there is one thread."""
