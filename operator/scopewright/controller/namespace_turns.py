"""Keys that wait for a worker; namespaces take turns, so that none delays another."""

import asyncio
from collections import Counter, deque

from scopewright.core.objects import Ref


class NamespaceTurns:
    """First in, first out within a namespace, and one namespace after the other.

    A namespace may have as many workers as are free: half of them if it is alone, the next one half of the rest. So
    slow reconciliations of one namespace, for example because a webhook does not answer, leave workers for others.
    """

    def __init__(self, workers: int) -> None:
        self._free = workers
        self._busy: Counter[str] = Counter()
        self._waiting: dict[str, deque[Ref]] = {}
        """By namespace, in the order of turns."""
        self._idle: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def put(self, key: Ref) -> None:
        self._waiting.setdefault(key.namespace, deque()).append(key)
        self._wake()

    async def get(self) -> Ref | None:
        """The next key, for a worker that calls `done` afterwards; None once closed."""
        while not self._closed:
            if (key := self._next()) is not None:
                return key
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return None

    def done(self, key: Ref) -> None:
        self._free += 1
        self._busy[key.namespace] -= 1
        if not self._busy[key.namespace]:
            del self._busy[key.namespace]
        self._wake()

    def close(self) -> None:
        self._closed = True
        while self._idle:
            self._wake()

    def _next(self) -> Ref | None:
        namespace = next((n for n in self._waiting if self._busy[n] < self._free), None)
        if namespace is None:
            return None
        keys = self._waiting.pop(namespace)
        key = keys.popleft()
        if keys:
            self._waiting[namespace] = keys
        self._busy[namespace] += 1
        self._free -= 1
        return key

    def _wake(self) -> None:
        """Wake one idle worker; it waits again if there is no key for it."""
        while self._idle:
            idle = self._idle.popleft()
            if not idle.done():
                idle.set_result(None)
                return
