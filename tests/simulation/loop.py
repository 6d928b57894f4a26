"""An event loop whose time jumps to the next timer: asynchronous code runs unchanged, and without real sleeps.

Every callback belongs to a process, by a context variable. A paused process, as after SIGSTOP, runs nothing until it is
resumed; its callbacks wait in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any


class PausableProcess:
    """The part of a process that the loop uses."""

    def __init__(self) -> None:
        self.paused = False
        self.waiting: list[Any] = []


RUNNING: ContextVar[PausableProcess | None] = ContextVar("running", default=None)


class Deadlock(Exception):
    """No callback is ready and no timer is set: a fault of the simulation."""


class Step:
    """A scheduled callback: the methods of asyncio.TimerHandle that asyncio calls."""

    __slots__ = ("_when", "arguments", "callback", "context", "is_cancelled")

    def __init__(self, callback: Callable[..., Any], arguments: Any, context: Context | None, when: float) -> None:
        self.callback, self.arguments, self._when = callback, arguments, when
        self.context = copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.callback = self.arguments = None  # type: ignore[assignment]

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


class VirtualLoop(asyncio.BaseEventLoop):
    """Single-threaded and deterministic: no sockets, no signals, no threads. A callback that fails ends the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._soon: deque[Step] = deque()
        self._timers: list[tuple[float, int, Step]] = []
        self._serial = 0

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        step = Step(callback, args, context, self.now)
        self._soon.append(step)
        return step

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        step = Step(callback, args, context, when)
        self._serial += 1
        heappush(self._timers, (when, self._serial, step))
        return step

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]
        return self.call_at(self.now + delay, callback, *args, context=context)

    def resume(self, process: PausableProcess) -> None:
        process.paused = False
        self._soon.extend(process.waiting)
        process.waiting = []

    def run_until_done(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run until the coroutine has ended."""
        task = self.create_task(coroutine)
        while not task.done():
            self.run_once()
        task.result()

    def run_once(self) -> None:
        """Run all ready callbacks. If there are none, advance to the next timer."""
        soon, timers = self._soon, self._timers
        if not soon:
            while timers and timers[0][2].is_cancelled:
                heappop(timers)
            if not timers:
                raise Deadlock("nothing is ready, and no timer is set")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            soon.append(heappop(timers)[2])
        for _ in range(len(soon)):
            step = soon.popleft()
            if step.is_cancelled:
                continue
            process = step.context.get(RUNNING)
            if process is not None and process.paused:
                process.waiting.append(step)
            else:
                step.context.run(step.callback, *step.arguments)

    def _write_to_self(self) -> None:
        """Not needed: there is one thread."""
