"""What may be used only once: the `jti` of DPoP proofs (RFC 9449 §11.1)."""

import hashlib
import heapq
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol

from scopewright.forks import restart_in_children
from scopewright.verifier.refusals import KeysUnavailable


class Replay(Protocol):
    """One process can remember that by itself; several need one memory, which is theirs to bring."""

    def first_use(self, owner: str, value: str, until: float) -> bool | Awaitable[bool]:
        """Whether `owner` (a client id) uses `value` for the first time; remembered until then (since 1970).

        Raises `KeysUnavailable` where that cannot be told. `verify_sync` needs an answer that need not be awaited.
        """


def replay_key(owner: str, value: str) -> bytes:
    """What is remembered of them: 16 bytes."""
    return hashlib.sha256(f"{owner}\0{value}".encode("utf-8", "surrogatepass")).digest()[:16]


def has_room(held: int, free: int, share: float) -> bool:
    """Whether an owner that has `held` entries may have another one, where `free` entries are free.

    An owner may have as many as `share` of what is free: the more the others hold, the less. So no number of owners
    fills the memory: n owners that take all they can leave 1 / (1 + share) ** n of it to the next one.
    """
    return free > 0 and held < share * free


class ReplayMemory:
    """The memory of one process, for threads and tasks alike: about 250 bytes a proof, for some two minutes.

    An owner may fill `share` of what is free (`has_room`); beyond that the next one is `KeysUnavailable`: nothing is
    accepted twice because a memory is full.
    """

    def __init__(self, capacity: int = 200_000, *, share: float = 0.5, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: dict[bytes, str] = {}
        self._ends: list[tuple[float, bytes]] = []
        self._held: Counter[str] = Counter()
        restart_in_children(self)

    def after_fork(self) -> None:
        """Called in a forked child: the lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._owners)

    def first_use(self, owner: str, value: str, until: float) -> bool:
        key = replay_key(owner, value)
        with self._lock:
            self._forget(self._clock())
            if key in self._owners:
                return False
            if not has_room(self._held[owner], self._capacity - len(self._owners), self._share):
                raise KeysUnavailable(5.0, "Too many requests with a proof within two minutes; try again")
            self._owners[key] = owner
            self._held[owner] += 1
            heapq.heappush(self._ends, (until, key))
            return True

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            owner = self._owners.pop(heapq.heappop(self._ends)[1])
            self._held[owner] -= 1
            if not self._held[owner]:
                del self._held[owner]
