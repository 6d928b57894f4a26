"""The queue of keys: each at most once, with at most one worker, and growing pauses after failures."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from scopewright.controller.namespace_turns import NamespaceTurns
from scopewright.controller.object_backoff import ObjectBackoff
from scopewright.controller.timers import Timers
from scopewright.core.failures import NotLeading, Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.logs import log_fields

MAX_PAUSE_SECONDS: Final = 60.0
"""The longest pause in seconds: nothing else triggers a retry once the cause is fixed."""

log = logging.getLogger(__name__)

Reconcile = Callable[[Ref], Awaitable[datetime | None]]


class Queue:
    """`reconcile` returns when the key is due again because of time alone (None: never).

    `after` returns the key for which another waits while that is queued or running (None: it waits for none).
    """

    def __init__(
        self,
        reconcile: Reconcile,
        clock: Callable[[], datetime],
        *,
        after: Callable[[Ref], Ref | None] = lambda key: None,
        workers: int = 24,
        pauses: ObjectBackoff | None = None,
    ) -> None:
        self._reconcile = reconcile
        self._clock = clock
        self._after = after
        self._workers = workers
        self._ready = NamespaceTurns(workers)
        self._waiting: set[Ref] = set()
        self._running: set[Ref] = set()
        self._again: set[Ref] = set()
        self._waiting_for: defaultdict[Ref, set[Ref]] = defaultdict(set)
        """Waiting keys, by the key for which they wait."""
        self._pauses = pauses or ObjectBackoff(longest=MAX_PAUSE_SECONDS)
        self._timers = Timers(self.add)
        """The next time at which a key is added."""
        self._stopping = False

    def add(self, key: Ref, delay: float = 0.0) -> None:
        """Reconcile `key` as soon as possible, or after `delay` seconds unless it is due sooner."""
        if delay > 0:
            self._timers.set(key, delay)
        elif key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.put(key)

    def planning(self, key: Ref) -> None:
        """The running reconciliation of `key` reads the cache from here on: what changed before is no reason for
        another one.
        """
        self._again.discard(key)

    @property
    def depth(self) -> int:
        return len(self._waiting)

    @property
    def failing(self) -> frozenset[Ref]:
        """The keys whose reconciliation has failed several times in a row."""
        return self._pauses.failing()

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._running

    async def run(self) -> None:
        """Run until `stop`, and until the workers have finished their current keys."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            self._timers.cancel_all()

    def stop(self) -> None:
        """Let each worker finish its current key. Waiting keys are dropped: the next leader reconciles all."""
        self._stopping = True
        self._ready.close()

    async def _work(self) -> None:
        while not self._stopping:
            key = await self._ready.get()
            if key is None:
                return
            try:
                await self._take(key)
            finally:
                self._ready.done(key)
            # A reconciliation without writes waits for nothing: after a start, thousands of them would delay the
            # renewal of the Lease until it has expired, again and again.
            await asyncio.sleep(0)

    async def _take(self, key: Ref) -> None:
        self._waiting.discard(key)
        first = self._after(key)
        if first and (first in self._waiting or first in self._running):
            self._waiting_for[first].add(key)
            return
        self._running.add(key)
        try:
            await self._reconcile_once(key)
        finally:
            self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            for waiting in self._waiting_for.pop(key, ()):
                self.add(waiting)

    async def _reconcile_once(self, key: Ref) -> None:
        self._timers.cancel(key)
        try:
            due = await self._reconcile(key)
        except NotLeading:
            log.debug("%s is left to the next leader", key)
        except (Unavailable, Rejected) as error:
            self._retry(key, error)
        except Exception as error:
            log.exception("reconciling %s failed", key, extra=log_fields(key))
            self._retry(key, error)
        else:
            self._pauses.succeeded(key)
            if due is not None:
                self._timers.set(key, max((due - self._clock()).total_seconds(), 0.0) + 0.05)

    def _retry(self, key: Ref, error: Exception) -> None:
        pause = self._pauses.failed(key, error.retry_after if isinstance(error, Unavailable) else 0.0)
        log.warning(
            "%s failed, retrying in %.1f s: %s", key, pause, error, extra=log_fields(key, again_in=round(pause, 1))
        )
        self._timers.set(key, pause)
