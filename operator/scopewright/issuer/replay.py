"""What may be used only once: the `jti` of client assertions and DPoP proofs (RFC 7523 §3, RFC 9449 §11.1).

One process can remember that by itself. Several need one memory: Valkey or Redis.
"""

import logging
from typing import Final, Protocol

import redis.asyncio
from redis.exceptions import RedisError

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.fresh import Clock
from scopewright.verifier.refusals import Unavailable as Full
from scopewright.verifier.replay import ReplayMemory, replay_key

log: Final = logging.getLogger(__name__)

CAPACITY: Final = 100_000
NAMESPACE_SHARE: Final = 0.1
"""What the clients of one namespace may fill of the memory that all share."""
TIMEOUT: Final = 1.0


class Replay(Protocol):
    async def first_use(self, owner: str, value: str, until: float) -> bool:
        """Whether `owner` (a client id) uses `value` for the first time; remembered until then (since the epoch).

        `Unavailable` where that cannot be told: nothing is accepted twice because a memory is full or away.
        """

    async def close(self) -> None: ...


class InMemory:
    """The memory of one process, bounded; a namespace, which may have many clients, fills no more than its share."""

    def __init__(self, clock: Clock, *, capacity: int = CAPACITY) -> None:
        self._memory = ReplayMemory(capacity, share=NAMESPACE_SHARE, clock=clock)

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        try:
            return self._memory.first_use(owner.partition(".")[0], f"{owner} {value}", until)
        except Full as full:
            raise Unavailable("too many assertions and proofs are remembered", retry_after=full.retry_after) from None

    async def close(self) -> None:
        pass


class Shared:
    """The memory of all processes and replicas: a Valkey or Redis."""

    def __init__(self, url: str, prefix: str = "scopewright:once:") -> None:
        try:
            self._client = redis.asyncio.from_url(
                url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
                socket_timeout=TIMEOUT,
                socket_connect_timeout=TIMEOUT,
            )
        except ValueError:
            raise Rejected(
                "BadReplay", "the replay memory must be a URL such as redis://host:6379/0 or rediss://… for TLS"
            ) from None
        self._prefix = prefix

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        name = self._prefix + replay_key(owner, value).hex()
        try:
            return bool(await self._client.set(name, b"", nx=True, pxat=max(1, int(until * 1000))))
        except (RedisError, OSError) as error:
            log.warning("the replay memory fails: %s", type(error).__name__)
            raise Unavailable("the replay memory is away", retry_after=1.0) from None

    async def close(self) -> None:
        await self._client.aclose()
