"""Before a refusal: read the one record afresh, so that nobody is refused from ignorance.

Reads are few whatever comes in: one in flight for an id, none again within a second, and one budget for all ids, known
or made up: two budgets would show by their ends which ids exist. Once the budget is spent, a small reserve reads for
known ids in the background. It serves clients whose credential has just rotated; a wrong credential gets the same
answer after the same time whether the reserve was used or not.
"""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.core.records import CLIENT_TYPE, client_record_name
from scopewright.issuer.protocol.errors import Slowed
from scopewright.issuer.rate_budget import Clock, RateBudget, TokenBucket
from scopewright.issuer.state.registry import Registry
from scopewright.stores import Reader

log: Final = logging.getLogger(__name__)

READ_BUDGET: Final = RateBudget(rate=50.0, burst=100)
RESERVE_BUDGET: Final = RateBudget(rate=20.0, burst=40)
"""For known ids, once READS is spent."""
RESERVED_WAIT_SECONDS: Final = 0.05
"""How long a request waits for a read from the reserve: less than the floor of refusals, which hides the wait."""


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
        remember: float = 1.0,
        timeout: float = 2.0,
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._clock = clock
        self._monotonic = monotonic
        self._budget = TokenBucket(reads, monotonic)
        self._reserve = TokenBucket(reserve, monotonic)
        self._timeout = timeout
        self._reads = _Reads(remember, monotonic)
        self._reserved = _Reads(remember, monotonic)
        """Kept apart, so that a read from the reserve saves no read from the budget: that would show too."""

    @property
    def spent(self) -> bool:
        """Whether the next refusal, whatever its client id, could not be read for."""
        return self._budget.level < 1

    async def refresh(self, client_id: str, *, slowed: bool = False) -> None:
        """Afterwards the registry knows this client's record as it is, or was within the last second.

        `Unavailable` or `Rejected` where it could not be read. `Slowed` where the budget is spent or the caller has
        used up its own (`slowed`); the registry may have been refreshed from the reserve nevertheless.
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
        """Unknown ids are not read for, and a read that takes longer goes on in the background."""
        if self._registry.client(client_id) is None or self._reserved.recent(client_id):
            return
        running = self._reserved.running.get(client_id)
        if running is None:
            if not self._reserve.take():
                return
            running = self._reserved.start(client_id, self._read(client_id))
        await asyncio.wait([running], timeout=RESERVED_WAIT_SECONDS)
        if running.done() and not running.cancelled() and running.exception() is not None:
            # The answer is that of `Slowed`; the outcome is counted as a failure of the store.
            raise Unavailable("the store failed")

    async def _read(self, client_id: str) -> None:
        namespace, _, name = client_id.partition(".")
        ref = Ref("Secret", self._registry.namespace, client_record_name(namespace, name))
        try:
            async with asyncio.timeout(self._timeout):
                found = await self._reader.read(ref)
        except (Rejected, Unavailable):
            raise
        except TimeoutError:
            raise Unavailable("the store does not answer") from None
        except Exception as error:
            log.exception("a fresh read failed")
            raise Unavailable("the store failed") from error
        if found is not None and found[0].type == CLIENT_TYPE:
            self._registry.apply_fresh(*found, self._clock())


class _Reads:
    """Reads under way, and ids that were read within the last `remember` seconds."""

    def __init__(self, remember: float, monotonic: Clock) -> None:
        self.running: dict[str, asyncio.Task[None]] = {}
        self._remember = remember
        self._monotonic = monotonic
        self._done: dict[str, float] = {}
        """When each is to be forgotten, in that order."""

    def recent(self, client_id: str) -> bool:
        now = self._monotonic()
        while self._done:
            first = next(iter(self._done))
            if now < self._done[first]:
                break
            del self._done[first]
        return client_id in self._done

    def start(self, client_id: str, read: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(read, name="fresh read")
        self.running[client_id] = task
        task.add_done_callback(partial(self._finished, client_id))
        return task

    def _finished(self, client_id: str, task: asyncio.Task[None]) -> None:
        """An exception is retrieved here: the request that waited for it may have ended."""
        self.running.pop(client_id, None)
        if not task.cancelled() and task.exception() is None:
            self._done[client_id] = self._monotonic() + self._remember
