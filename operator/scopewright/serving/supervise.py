"""Background tasks. A task that ends is logged and restarted, after a longer pause each time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from scopewright.rate_budget import Clock

log: Final = logging.getLogger(__name__)

RESTART_PAUSES_SECONDS: Final = (0.1, 1.0, 5.0, 30.0)
"""After the first, second, … failure in a row."""
STABLE_AFTER_SECONDS: Final = 60.0
"""A task that ran this long has no failures in a row."""
_DOWN_AFTER_FAILURES: Final = 3
"""Failures in a row after which a task is reported as down, until it is stable again."""


@dataclass(slots=True)
class _TaskState:
    needed: bool
    started: float
    failures: int = 0


class SupervisedTasks:
    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tasks: list[asyncio.Task[None]] = []
        self._states: dict[str, _TaskState] = {}

    def start(self, name: str, work: Callable[[], Awaitable[None]], *, needed: bool = False) -> None:
        """`needed`: while the task is down, answers may be wrong, and the process is not ready."""
        state = self._states[name] = _TaskState(needed, self._monotonic())
        self._tasks.append(asyncio.create_task(self._keep_running(name, work, state), name=name))

    async def stop(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def down(self, *, needed: bool) -> list[str]:
        """The names of tasks that fail repeatedly."""
        now = self._monotonic()
        return [
            name
            for name, state in self._states.items()
            if state.needed is needed
            and state.failures >= _DOWN_AFTER_FAILURES
            and now < state.started + STABLE_AFTER_SECONDS
        ]

    async def _keep_running(self, name: str, work: Callable[[], Awaitable[None]], state: _TaskState) -> None:
        while await self._run_once(name, work):
            if self._monotonic() >= state.started + STABLE_AFTER_SECONDS:
                state.failures = 0
            pause = RESTART_PAUSES_SECONDS[min(state.failures, len(RESTART_PAUSES_SECONDS) - 1)]
            state.failures += 1
            state.started = self._monotonic() + pause
            log.error("restarting task %s in %.1f s", name, pause)
            await asyncio.sleep(pause)

    async def _run_once(self, name: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Returns whether to restart it: always, unless `stop` cancelled it."""
        try:
            await work()
            log.error("task %s ended unexpectedly", name)
        except asyncio.CancelledError:
            if not _is_stopping():
                log.exception("task %s was cancelled by its own code", name)
        except Exception:
            log.exception("task %s failed", name)
        return not _is_stopping()


def _is_stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
