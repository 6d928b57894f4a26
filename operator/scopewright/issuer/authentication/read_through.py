"""Before a refusal, the client's record is read from the store: the watch may lag behind a new credential.

The number of reads is bounded: one in flight for each id, none again within a second, and one budget for all ids.
Separate budgets for known and unknown ids would show which ids exist. Once the budget is exhausted, a small reserve
reads for known ids in the background: it serves clients whose credential has just rotated. A wrong credential gets the
same answer after the same time whether the reserve was used or not.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records.names import CLIENT_TYPE, client_record_name
from scopewright.issuer.protocol.errors import Slowed
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock, RateBudget, TokenBucket
from scopewright.stores import Reader

log: Final = logging.getLogger(__name__)

READ_BUDGET: Final = RateBudget(rate=50.0, burst=100)
RESERVE_BUDGET: Final = RateBudget(rate=20.0, burst=40)
"""For known ids, once READ_BUDGET is exhausted."""
RESERVED_WAIT_SECONDS: Final = 0.05
"""A request waits this long for a read from the reserve: less than MIN_REFUSAL_SECONDS, which hides the wait."""


class ReadThrough:
    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        *,
        clock: Clock,
        monotonic: Clock,
        reads: RateBudget = READ_BUDGET,
        reserve: RateBudget = RESERVE_BUDGET,
        max_age: float = 1.0,
        timeout: float = 2.0,
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._budget = TokenBucket(reads, monotonic)
        self._reserve = TokenBucket(reserve, monotonic)
        self._timeout = timeout
        self._reads = _Reads(max_age, monotonic)
        self._reserved = _Reads(max_age, monotonic)
        """Separate, so that a read from the reserve never saves a read from the budget: that would show known ids."""

    @property
    def budget_exhausted(self) -> bool:
        """Whether there is no read left for the next refusal, whatever its client id."""
        return self._budget.level < 1

    async def refresh(self, client_id: str, *, slowed: bool = False) -> None:
        """Update the registry with this client's record, unless it was read within the last second.

        Raises `Unavailable` or `Rejected` if the read fails. Raises `Slowed` if the budget or that of the caller
        (`slowed`) is exhausted; the registry may have been updated from the reserve nevertheless.
        """
        if not slowed and self._reads.recent(client_id):
            return
        if not slowed and (running := self._reads.running.get(client_id)):
            await asyncio.shield(running)
        elif not slowed and self._budget.take():
            await asyncio.shield(self._reads.start(client_id, self._read(client_id)))
        else:
            await self._refresh_from_reserve(client_id)
            raise Slowed("too many refusals to check")

    async def _refresh_from_reserve(self, client_id: str) -> None:
        """There are no reads for unknown ids. A slow read continues in the background."""
        if self._registry.clients.get(client_id) is None or self._reserved.recent(client_id):
            return
        running = self._reserved.running.get(client_id)
        if running is None:
            if not self._reserve.take():
                return
            running = self._reserved.start(client_id, self._read(client_id))
        await asyncio.wait([running], timeout=RESERVED_WAIT_SECONDS)
        if running.done() and not running.cancelled() and running.exception() is not None:
            # The answer is the same as for `Slowed`; the metrics count a failure of the store.
            raise Unavailable("the read failed")

    async def _read(self, client_id: str) -> None:
        namespace, _, name = client_id.partition(".")
        ref = Ref("Secret", self._registry.namespace, client_record_name(namespace, name))
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._reader.read(ref)
        except (Rejected, Unavailable):
            raise
        except TimeoutError:
            raise Unavailable("the read timed out") from None
        except Exception as error:
            log.exception("reading %s failed", ref)
            raise Unavailable("the read failed") from error
        if found is not None and found[0].type == CLIENT_TYPE:
            self._registry.apply_read(*found, self._clock())


class _Reads:
    """Reads in flight, and the ids that were read within the last `max_age` seconds."""

    def __init__(self, max_age: float, monotonic: Clock) -> None:
        self.running: dict[str, asyncio.Task[None]] = {}
        self._max_age = max_age
        self._monotonic = monotonic
        self._read_until: dict[str, float] = {}
        """The time at which each id is dropped, in ascending order."""

    def recent(self, client_id: str) -> bool:
        now = self._monotonic()
        while self._read_until:
            first = next(iter(self._read_until))
            if now < self._read_until[first]:
                break
            del self._read_until[first]
        return client_id in self._read_until

    def start(self, client_id: str, read: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(read, name="read through")
        self.running[client_id] = task
        task.add_done_callback(partial(self._finished, client_id))
        return task

    def _finished(self, client_id: str, task: asyncio.Task[None]) -> None:
        """Retrieves the exception: the request that waited for it may have been cancelled."""
        self.running.pop(client_id, None)
        if not task.cancelled() and task.exception() is None:
            self._read_until[client_id] = self._monotonic() + self._max_age
