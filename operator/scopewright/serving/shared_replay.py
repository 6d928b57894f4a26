"""Replay protection that several processes share, in a Valkey or Redis."""

import asyncio
import logging
import math
import time
from collections import Counter
from typing import Final

from redis.exceptions import RedisError

from scopewright.core.failures import Unavailable
from scopewright.rate_budget import Clock
from scopewright.serving.replay import NAMESPACE_SHARE
from scopewright.stores.valkey import OPERATION_TIMEOUT_SECONDS, TurnPipeline, client_of
from scopewright.verifier.replay import has_room, replay_key

log: Final = logging.getLogger(__name__)

SHARED_CAPACITY: Final = 1_000_000
"""Entries of one process in the shared store: about 100 MB there."""


class SharedReplay:
    """A Valkey or Redis that all processes and replicas share."""

    def __init__(
        self,
        url: str,
        prefix: str = "scopewright:once:",
        *,
        clock: Clock = time.time,
        capacity: int = SHARED_CAPACITY,
    ) -> None:
        """`capacity` counts the entries of this process."""
        self._server = TurnPipeline(client_of(url, "BadReplay", "the replay memory"))
        self._prefix = prefix
        self._clock = clock
        self._shares = _Shares(capacity)
        self._failing = False

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        """The entry gets a time to live, not an end: the clock of the store may differ."""
        name = self._prefix + replay_key(owner, value).hex()
        namespace, now = owner.partition(".")[0], self._clock()
        self._shares.take(namespace, until, now)
        try:
            milliseconds = max(1, math.ceil((until - now) * 1000))
            answer = await self._server.call("SET", name, b"", "NX", "PX", milliseconds)
        except (RedisError, OSError) as error:
            if not self._failing:  # one warning: the errors of an outage differ from request to request
                log.warning("the replay memory failed: %s", type(error).__name__)
            self._failing = True
            self._shares.give_back(namespace, until)
            raise Unavailable("the replay memory is unavailable", retry_after=1.0) from None
        self._failing = False
        first = bool(answer == b"OK")
        if not first:
            self._shares.give_back(namespace, until)
        return first

    async def close(self) -> None:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                await self._server.client.aclose()
        except (RedisError, OSError) as error:
            log.warning("closing the connections to the replay memory failed: %s", type(error).__name__)


class _Shares:
    """The entries of this process in the shared store, by namespace and by the minute in which they expire."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._used: Counter[str] = Counter()
        self._expiring: dict[int, Counter[str]] = {}
        """By minute since the epoch."""
        self._minute = 0
        """Those that end before it have been dropped."""

    def take(self, namespace: str, until: float, now: float) -> None:
        """Count one more; raises `Unavailable` if the namespace has no room left."""
        self._drop_expired(int(now // 60))
        if not has_room(self._used[namespace], self._free, NAMESPACE_SHARE):
            raise Unavailable("too many assertions and proofs of this namespace are stored", retry_after=5.0)
        self._free -= 1
        self._used[namespace] += 1
        end = int(until // 60)
        expiring = self._expiring.get(end)
        if expiring is None:
            expiring = self._expiring[end] = Counter()
        expiring[namespace] += 1

    def give_back(self, namespace: str, until: float) -> None:
        """Undo `take`: the value was stored before, or storing it failed."""
        expiring = self._expiring.get(int(until // 60), Counter())
        if expiring[namespace]:
            expiring[namespace] -= 1
            self._free += 1
            self._used -= Counter({namespace: 1})

    def _drop_expired(self, minute: int) -> None:
        if minute == self._minute:
            return
        self._minute = minute
        for end in [end for end in self._expiring if end < minute]:
            expired = self._expiring.pop(end)
            self._free += expired.total()
            self._used -= expired
