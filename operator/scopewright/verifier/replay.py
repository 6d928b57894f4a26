"""Records the `jti` of DPoP proofs, so that each is used only once (RFC 9449 §11.1)."""

import hashlib
import heapq
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from scopewright.forks import restart_in_children
from scopewright.verifier.refusals import KeysUnavailable

TOO_MANY_PROOFS: Final = "Too many requests with a proof within two minutes; try again"


class Replay(Protocol):
    """A record of used values. `ReplayMemory` serves one process; several processes need a shared implementation."""

    def first_use(self, owner: str, value: str, until: float) -> bool | Awaitable[bool]:
        """Whether `owner` (a client id) uses `value` for the first time. Records it until `until` (seconds since 1970).

        Raises `KeysUnavailable` if that cannot be determined. `verify_sync` needs a result that is not awaitable.
        """


def replay_key(owner: str, value: str) -> bytes:
    """The key to record for `owner` and `value`: 16 bytes of their SHA-256."""
    return hashlib.sha256(f"{owner}\0{value}".encode("utf-8", "surrogatepass")).digest()[:16]


def has_room(used: int, free: int, share: float) -> bool:
    """Whether an owner that has `used` entries may have another one, where `free` entries are free.

    An owner may hold up to `share` times the free entries. So no number of owners fills the memory: n owners that take
    all they can leave 1 / (1 + share) ** n of it to the next one.
    """
    return free > 0 and used < share * free


class ReplayMemory:
    """A record for one process, its threads and tasks: about 250 bytes per proof, for about two minutes.

    An owner may hold `share` of the free entries (`has_room`). Beyond that `first_use` raises `KeysUnavailable`: a full
    memory never accepts a proof twice.
    """

    def __init__(self, capacity: int = 200_000, *, share: float = 0.5, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._share = share
        self._clock = clock
        self._lock = threading.Lock()
        self._owners: dict[bytes, str] = {}
        self._expiries: list[tuple[float, bytes]] = []
        self._counts: Counter[str] = Counter()
        restart_in_children(self)

    def after_fork(self) -> None:
        """Called in a forked child: the lock may have been held by another thread of the parent."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._owners)

    def first_use(self, owner: str, value: str, until: float) -> bool:
        key = replay_key(owner, value)
        with self._lock:
            self._remove_expired(self._clock())
            if key in self._owners:
                return False
            if not has_room(self._counts[owner], self._capacity - len(self._owners), self._share):
                raise KeysUnavailable(5.0, TOO_MANY_PROOFS)
            self._owners[key] = owner
            self._counts[owner] += 1
            heapq.heappush(self._expiries, (until, key))
            return True

    def _remove_expired(self, now: float) -> None:
        while self._expiries and self._expiries[0][0] <= now:
            owner = self._owners.pop(heapq.heappop(self._expiries)[1])
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]
