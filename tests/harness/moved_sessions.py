"""`MovedSessions`: sessions in a real Valkey or Redis, whose time to live a test moves with its clock."""

import asyncio
import secrets
from dataclasses import replace
from typing import Final

from scopewright.stores.sessions import Delete, Found, Put, ScanPage
from scopewright.stores.sessions.valkey import ValkeySessions
from tests.harness.clock import Clock
from tests.harness.valkey_server import ValkeyServer

SLOWER: Final = 1000
"""Values live this many times longer on the server, so that the duration of the test itself does not matter."""


class MovedSessions:
    """Under keys of its own. What the clock has moved since the last request is subtracted from the life of each."""

    def __init__(self, server: ValkeyServer, clock: Clock) -> None:
        self._server = server
        self._clock = clock
        self._moved = clock()
        self._namespace = f"test-{secrets.token_hex(8)}"
        self._sessions = ValkeySessions(server.url, self._namespace)

    async def get(self, *keys: bytes) -> Found:
        await self._move()
        return Found(self._clock(), (await self._sessions.get(*keys)).values)

    async def write(self, *changes: Put | Delete) -> bool:
        await self._move()
        return await self._sessions.write(
            *(replace(change, ttl=change.ttl * SLOWER) if isinstance(change, Put) else change for change in changes)
        )

    async def scan(self, start: str = "") -> ScanPage:
        await self._move()
        return replace(await self._sessions.scan(start), now=self._clock())

    async def store_id(self) -> str:
        return await self._sessions.store_id()

    async def close(self) -> None:
        await self._sessions.close()

    async def _move(self) -> None:
        if moved := round((self._clock() - self._moved) * 1000):
            self._moved = self._clock()
            await asyncio.to_thread(self._shorten, moved * SLOWER)

    def _shorten(self, milliseconds: int) -> None:
        with self._server.client() as client:
            for key in client.scan_iter(f"scopewright:sessions:{self._namespace}:*"):
                if (remaining := client.pttl(key)) > 0:
                    client.pexpire(key, remaining - milliseconds)
