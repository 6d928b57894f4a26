"""`WatchedSessions`: a session store in memory that counts its reads, and that can be away."""

from typing import Any

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Found, Put
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions


class WatchedSessions(MemorySessions):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.reads = 0
        self.is_away = False

    async def get(self, *keys: bytes) -> Found:
        self._fail_if_away()
        self.reads += 1
        return await super().get(*keys)

    async def write(self, *changes: Put | Delete) -> bool:
        self._fail_if_away()
        return await super().write(*changes)

    def _fail_if_away(self) -> None:
        if self.is_away:
            raise Unavailable("the session store is away", retry_after=5.0)


def watched() -> tuple[WatchedSessions, dict[str, Any]]:
    """A store, and the arguments of `running_logins` for it."""
    clock = Clock()
    store = WatchedSessions(clock)
    return store, {"store": store, "clock": clock}
