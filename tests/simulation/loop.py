"""An event loop whose time jumps to the next timer: real asynchronous code runs unchanged, and nothing ever sleeps.

Every callback belongs to a process (by a context variable). One that is paused, as by SIGSTOP, runs nothing until it
is woken; what comes for it meanwhile waits in order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any


class Paused:
    """What a loop knows of a process."""

    def __init__(self) -> None:
        self.paused = False
        self.held: list[Any] = []


RUNNING: ContextVar[Paused | None] = ContextVar("running", default=None)


class Deadlock(Exception):
    """Nothing can ever happen any more: the simulation itself is wrong."""


class Step:
    """A callback to come: all that asyncio asks of a Handle or TimerHandle, and nothing else."""

    __slots__ = ("_when", "arguments", "callback", "context", "off")

    def __init__(self, callback: Callable[..., Any], arguments: Any, context: Context | None, when: float) -> None:
        self.callback, self.arguments, self._when = callback, arguments, when
        self.context = copy_context() if context is None else context
        self.off = False

    def cancel(self) -> None:
        self.off = True
        self.callback = self.arguments = None  # type: ignore[assignment]

    def cancelled(self) -> bool:
        return self.off

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

    def wake(self, process: Paused) -> None:
        process.paused = False
        self._soon.extend(process.held)
        process.held = []

    def run_out(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Until this is done."""
        task = self.create_task(coroutine)
        while not task.done():
            self.turn()
        task.result()

    def turn(self) -> None:
        """All that is ready; where nothing is, time goes on to the next timer."""
        soon, timers = self._soon, self._timers
        if not soon:
            while timers and timers[0][2].off:
                heappop(timers)
            if not timers:
                raise Deadlock("nothing is ready, and no timer is set")
            self.now = max(self.now, timers[0][0])
        while timers and timers[0][0] <= self.now:
            soon.append(heappop(timers)[2])
        for _ in range(len(soon)):
            step = soon.popleft()
            if step.off:
                continue
            process = step.context.get(RUNNING)
            if process is not None and process.paused:
                process.held.append(step)
            else:
                step.context.run(step.callback, *step.arguments)

    def _write_to_self(self) -> None:
        """Nobody else could wake it: there is one thread."""
