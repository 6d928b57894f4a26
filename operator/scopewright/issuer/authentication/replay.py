"""What may be used only once: the `jti` of client assertions and DPoP proofs (RFC 7523 §3, RFC 9449 §11.1).

One process can remember that by itself. Several need one memory: Valkey or Redis.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from typing import Final, Protocol

import redis.asyncio
from redis.exceptions import RedisError

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.rate_budget import Clock
from scopewright.verifier.refusals import KeysUnavailable as Full
from scopewright.verifier.replay import ReplayMemory, has_room, replay_key

log: Final = logging.getLogger(__name__)

LOCAL_CAPACITY: Final = 100_000
"""Entries in the memory of one process: about 25 MB."""
SHARED_CAPACITY: Final = 1_000_000
"""Entries in the server's memory by one process: about 100 MB there."""
NAMESPACE_SHARE: Final = 1 / 8
"""What the clients of one namespace may fill of the entries that are free (`has_room`): a ninth of all where no other
namespace has any, which of 100,000 holds 30 assertions a second that are remembered for 360 s. Ten namespaces that take
all they can leave 30 % free, of which the next one may have its eighth.
"""
CONNECTION_TIMEOUT_SECONDS: Final = 1.0
"""Seconds for each: to get a connection, to open it, and to wait for an answer."""
OPERATION_TIMEOUT_SECONDS: Final = 2.0
"""Seconds for all of that together."""
MAX_CONNECTIONS: Final = 32
"""To the server, of one process. While it hangs, more would only be more that hang."""


class ReplayStore(Protocol):
    async def first_use(self, owner: str, value: str, until: float) -> bool:
        """Whether `owner` (a client id) uses `value` for the first time; remembered until then (since the epoch).

        `Unavailable` where that cannot be told: nothing is accepted twice because a memory is full or away.
        """

    async def close(self) -> None: ...


class LocalReplay:
    """The memory of one process, bounded; a namespace, which may have many clients, fills no more than its share."""

    def __init__(self, clock: Clock, *, capacity: int = LOCAL_CAPACITY) -> None:
        self._memory = ReplayMemory(capacity, share=NAMESPACE_SHARE, clock=clock)

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        try:
            return self._memory.first_use(owner.partition(".")[0], f"{owner} {value}", until)
        except Full as full:
            raise Unavailable("too many assertions and proofs are remembered", retry_after=full.retry_after) from None

    async def close(self) -> None:
        pass


class SharedReplay:
    """The memory of all processes and replicas: a Valkey or Redis."""

    def __init__(
        self,
        url: str,
        prefix: str = "scopewright:once:",
        *,
        clock: Clock = time.time,
        capacity: int = SHARED_CAPACITY,
    ) -> None:
        """`capacity` is of what this process puts there."""
        try:
            pool = redis.asyncio.BlockingConnectionPool.from_url(
                url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
                max_connections=MAX_CONNECTIONS,
                timeout=CONNECTION_TIMEOUT_SECONDS,
                socket_timeout=CONNECTION_TIMEOUT_SECONDS,
                socket_connect_timeout=CONNECTION_TIMEOUT_SECONDS,
            )
        except ValueError:
            raise Rejected(
                "BadReplay", "the replay memory must be a URL such as redis://host:6379/0 or rediss://… for TLS"
            ) from None
        self._client = redis.asyncio.Redis.from_pool(pool)
        self._prefix = prefix
        self._clock = clock
        self._shares = _Shares(capacity)
        self._failing = False

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        """The server is told how long, not until when: its clock may be another."""
        name = self._prefix + replay_key(owner, value).hex()
        namespace, now = owner.partition(".")[0], self._clock()
        self._shares.take(namespace, until, now)
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                first = await self._client.set(name, b"", nx=True, px=max(1, math.ceil((until - now) * 1000)))
        except (RedisError, OSError) as error:
            if not self._failing:
                log.warning("the replay memory fails: %s", type(error).__name__)
            self._failing = True
            self._shares.give_back(namespace, until)
            raise Unavailable("the replay memory is away", retry_after=1.0) from None
        self._failing = False
        if not first:
            self._shares.give_back(namespace, until)
        return bool(first)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                await self._client.aclose()
        except (RedisError, OSError) as error:
            log.warning("the replay memory is not left in order: %s", type(error).__name__)


class _Shares:
    """How much each namespace has in the server's memory by this process, to the minute in which it ends."""

    def __init__(self, capacity: int) -> None:
        self._free = capacity
        self._held: Counter[str] = Counter()
        self._ends: dict[int, Counter[str]] = {}
        """By the minute after which the entries are forgotten."""

    def take(self, namespace: str, until: float, now: float) -> None:
        """One more, or `Unavailable`: a namespace that takes too much must not be everybody's loss."""
        self._forget(int(now // 60))
        if not has_room(self._held[namespace], self._free, NAMESPACE_SHARE):
            raise Unavailable("too many assertions and proofs of this namespace are remembered", retry_after=5.0)
        self._free -= 1
        self._held[namespace] += 1
        self._ends.setdefault(int(until // 60), Counter())[namespace] += 1

    def give_back(self, namespace: str, until: float) -> None:
        """What was taken: it was there already, or was not stored (as far as is known: the answer may be lost)."""
        ends = self._ends.get(int(until // 60), Counter())
        if ends[namespace]:
            ends[namespace] -= 1
            self._free += 1
            self._held -= Counter({namespace: 1})

    def _forget(self, minute: int) -> None:
        for end in [end for end in self._ends if end < minute]:
            ended = self._ends.pop(end)
            self._free += ended.total()
            self._held -= ended
