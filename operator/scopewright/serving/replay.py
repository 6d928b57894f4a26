"""Replay protection: each `jti` of client assertions and DPoP proofs is accepted once (RFC 7523 §3, RFC 9449 §11.1).

One process keeps them in its own memory. Several processes share a store: `serving.shared_replay`.
"""

from typing import Final, Protocol

from scopewright.core.failures import Unavailable
from scopewright.rate_budget import Clock
from scopewright.verifier.refusals import KeysUnavailable as MemoryFull
from scopewright.verifier.replay import ReplayMemory

LOCAL_CAPACITY: Final = 100_000
"""Entries of one process in its own memory: about 25 MB."""
NAMESPACE_SHARE: Final = 1 / 8
"""Of the free entries, the clients of one namespace may use this share (`has_room`): a ninth of all while no other
namespace has entries. A ninth of 100,000 holds 30 assertions a second that are kept for 360 s. Ten namespaces at their
limit leave 30 % free, and the next one may use an eighth of that.
"""


class ReplayStore(Protocol):
    async def first_use(self, owner: str, value: str, until: float) -> bool:
        """Whether `owner` (a client id) uses `value` for the first time. Kept until `until` (seconds since the epoch).

        Raises `Unavailable` if the store is full or cannot be reached: no value is accepted unchecked.
        """

    async def close(self) -> None: ...


class LocalReplay:
    """The memory of one process, bounded in total and for each namespace."""

    def __init__(self, clock: Clock, *, capacity: int = LOCAL_CAPACITY) -> None:
        self._memory = ReplayMemory(capacity, share=NAMESPACE_SHARE, clock=clock)

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        return self.first_use_here(owner, value, until)

    def first_use_here(self, owner: str, value: str, until: float) -> bool:
        """As `first_use`, without a task for the request that asks."""
        try:
            return self._memory.first_use(owner.partition(".")[0], f"{owner} {value}", until)
        except MemoryFull as full:
            raise Unavailable("too many assertions and proofs are stored", retry_after=full.retry_after) from None

    async def close(self) -> None:
        pass
