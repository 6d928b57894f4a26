"""`FailingSessions`: a session store that a test makes fail."""

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Found, Put, ScanPage
from tests.harness.memory_sessions import MemorySessions


class FailingSessions(MemorySessions):
    """A store that is away, takes no writes, or fails in the next `failures` of them. It counts its requests."""

    is_away = False
    is_full = False
    failures = 0
    reads = 0
    writes = 0

    async def get(self, *keys: bytes) -> Found:
        self.reads += 1
        if self.is_away:
            raise Unavailable("away")
        return await super().get(*keys)

    async def scan(self, start: str = "") -> ScanPage:
        if self.is_away:
            raise Unavailable("away")
        return await super().scan(start)

    async def write(self, *changes: Put | Delete) -> bool:
        self.writes += 1
        if self.is_away or self.is_full:
            raise Unavailable("away or full", refused=True)
        if self.failures:
            self.failures -= 1
            raise Unavailable("failed", refused=True)
        return await super().write(*changes)
