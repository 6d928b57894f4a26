"""Times at which keys are due, with one timer of the event loop for all: one for each would take 0.8 KB in uvloop."""

import asyncio
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

from scopewright.core.objects import Ref

_MIN_STALE: Final = 100
_RESOLUTION_SECONDS: Final = 0.001
"""uvloop rounds delays to this, so it may wake up early. Waiting for the rest, less than its unit, would be polling."""


class Timers:
    """`expired` is called with each key when its time has come."""

    def __init__(self, expired: Callable[[Ref], None]) -> None:
        self._expired = expired
        self._due: dict[Ref, float] = {}
        """By the event loop's clock."""
        self._order: list[tuple[float, Ref]] = []
        """A heap, with times that were replaced or cancelled since; they are skipped."""
        self._next: tuple[float, asyncio.TimerHandle] | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: Ref, delay: float) -> None:
        """Let the key expire after so many seconds, unless it does so sooner."""
        when = asyncio.get_running_loop().time() + delay
        if key in self._due and self._due[key] <= when:
            return
        self._due[key] = when
        heappush(self._order, (when, key))
        if len(self._order) > 2 * len(self._due) + _MIN_STALE:
            self._order = [(due, each) for each, due in self._due.items()]
            heapify(self._order)
        self._wait()

    def cancel(self, key: Ref) -> None:
        self._due.pop(key, None)

    def cancel_all(self) -> None:
        self._due.clear()
        self._order.clear()
        if self._next:
            self._next[1].cancel()
            self._next = None

    def _wait(self) -> None:
        """Wake up at the first time in the heap."""
        if not self._order or (self._next and self._next[0] <= self._order[0][0]):
            return
        if self._next:
            self._next[1].cancel()
        when = self._order[0][0]
        loop = asyncio.get_running_loop()
        self._next = (when, loop.call_later(max(when - loop.time(), 0.0), self._wake))

    def _wake(self) -> None:
        self._next, now = None, asyncio.get_running_loop().time()
        try:
            while self._order and self._order[0][0] < now + _RESOLUTION_SECONDS:
                when, key = heappop(self._order)
                if self._due.get(key) == when:
                    del self._due[key]
                    self._expired(key)
        finally:
            self._wait()
