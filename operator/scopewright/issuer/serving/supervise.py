"""Tasks that are to run for as long as the issuer does: one that ends is told, and begun again, later each time."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from scopewright.issuer.rate_budget import Clock

log: Final = logging.getLogger(__name__)

PAUSES: Final = (0.1, 1.0, 5.0, 30.0)
"""Seconds after the first, second, … failure in a row; one that ran long enough begins anew."""
LONG_ENOUGH: Final = 60.0
_DOWN: Final = 3
"""Failures in a row after which it counts as down, until it has run long enough."""


@dataclass(slots=True)
class _State:
    needed: bool
    begun: float
    failures: int = 0


class SupervisedTasks:
    def __init__(self, monotonic: Clock = time.monotonic) -> None:
        self._monotonic = monotonic
        self._tasks: list[asyncio.Task[None]] = []
        self._states: dict[str, _State] = {}

    def start(self, name: str, work: Callable[[], Awaitable[None]], *, needed: bool = False) -> None:
        """`needed`: while it is down, what is served may be wrong."""
        state = self._states[name] = _State(needed, self._monotonic())
        self._tasks.append(asyncio.create_task(self._keep(name, work, state), name=name))

    async def stop(self) -> None:
        """Until all have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def down(self, *, needed: bool) -> list[str]:
        """The names of those that fail again and again."""
        now = self._monotonic()
        return [
            name
            for name, state in self._states.items()
            if state.needed is needed and state.failures >= _DOWN and now < state.begun + LONG_ENOUGH
        ]

    async def _keep(self, name: str, work: Callable[[], Awaitable[None]], state: _State) -> None:
        while await self._once(name, work):
            if self._monotonic() >= state.begun + LONG_ENOUGH:
                state.failures = 0
            pause = PAUSES[min(state.failures, len(PAUSES) - 1)]
            state.failures += 1
            state.begun = self._monotonic() + pause
            log.error("the task %s is begun again in %.1f s", name, pause)
            await asyncio.sleep(pause)

    async def _once(self, name: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether to do it again: it was not told to end, however it has ended."""
        try:
            await work()
            log.error("the task %s has ended, which it never should", name)
        except asyncio.CancelledError:
            if not _is_told_to_end():
                log.exception("the task %s was cancelled by something in it", name)
        except Exception:
            log.exception("the task %s failed", name)
        return not _is_told_to_end()


def _is_told_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
