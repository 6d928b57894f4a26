"""A session store in the memory of one process. Its content ends with the process."""

import secrets
import time
from collections.abc import Callable
from typing import Final

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Found, Put, ScanPage, Stored

MAX_BYTES: Final = 64 << 20
PAGE_ENTRIES: Final = 25


class MemorySessions:
    """Bounded by `max_bytes`, keys and values together."""

    def __init__(self, clock: Callable[[], float] = time.time, *, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._entries: dict[bytes, tuple[Stored, float]] = {}
        """By key: the value and its end."""
        self._id = secrets.token_hex(16)

    async def get(self, *keys: bytes) -> Found:
        now = self._clock()
        return Found(now, tuple(self._stored(key, now) for key in keys))

    async def write(self, *changes: Put | Delete) -> bool:
        now = self._clock()
        for change in changes:
            if isinstance(change, Put):
                stored = self._stored(change.key, now)
                if (stored.version if stored else 0) != change.if_version:
                    return False
        after = dict(self._entries)
        for change in changes:
            if isinstance(change, Put):
                after[change.key] = Stored(change.if_version + 1, change.value), now + change.ttl
            else:
                after.pop(change.key, None)
        if _size(after) > self._max_bytes:
            after = {key: entry for key, entry in after.items() if now < entry[1]}
            if _size(after) > self._max_bytes:
                raise Unavailable("the session store is full", retry_after=30.0, refused=True)
        self._entries = after
        return True

    async def scan(self, start: str = "") -> ScanPage:
        now = self._clock()
        keys = sorted(key for key in self._entries if key > bytes.fromhex(start))
        page = keys[:PAGE_ENTRIES]
        values = ((key, stored) for key in page if (stored := self._stored(key, now)))
        return ScanPage(now, tuple(values), page[-1].hex() if len(keys) > PAGE_ENTRIES else "")

    async def store_id(self) -> str:
        return self._id

    async def close(self) -> None:
        pass

    def _stored(self, key: bytes, now: float) -> Stored | None:
        stored, end = self._entries.get(key, (None, 0.0))
        return stored if now < end else None


def _size(entries: dict[bytes, tuple[Stored, float]]) -> int:
    return sum(len(key) + len(stored.value) for key, (stored, _) in entries.items())
