"""A session store that is measured, and has a span for each request within a traced one."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from scopewright.core.failures import Unavailable
from scopewright.issuer.observability.tracing import Spans
from scopewright.issuer.observability.user_metrics import StoreOperation, StoreResult, UserMetrics
from scopewright.rate_budget import Clock
from scopewright.stores.sessions import Delete, Found, Put, ScanPage, SessionStore

T = TypeVar("T")

PROBE_SECONDS: Final = 15.0
"""After this time without a request, the store is asked for its id: alerts must not depend on logins."""


class MeasuredSessions:
    """Implements `SessionStore`."""

    def __init__(self, store: SessionStore, metrics: UserMetrics, monotonic: Clock, spans: Spans) -> None:
        self._store = store
        self._metrics = metrics
        self._monotonic = monotonic
        self._spans = spans
        self._last = float("-inf")
        """When a request ended last."""

    async def get(self, *keys: bytes) -> Found:
        return await self._measured("get", lambda: self._store.get(*keys))

    async def write(self, *changes: Put | Delete) -> bool:
        return await self._measured("write", lambda: self._store.write(*changes), lambda done: done)

    async def scan(self, start: str = "") -> ScanPage:
        return await self._measured("scan", lambda: self._store.scan(start))

    async def store_id(self) -> str:
        return await self._measured("store_id", self._store.store_id)

    async def close(self) -> None:
        await self._store.close()

    async def watch(self) -> None:
        """Ask the store for its id while nothing else is asked."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_SECONDS)

    async def probe(self) -> None:
        if self._monotonic() - self._last >= PROBE_SECONDS:
            with suppress(Unavailable):  # counted, and the store has logged it
                await self.store_id()

    async def _measured(
        self, operation: StoreOperation, request: Callable[[], Awaitable[T]], made: Callable[[T], bool] = lambda _: True
    ) -> T:
        """`made` returns whether a write was made."""
        begun = self._monotonic()
        try:
            with self._spans(f"session_store.{operation}", {}):
                answer = await request()
        except Unavailable:
            self._count(operation, "unavailable", begun)
            raise
        except Exception:
            self._count(operation, "failed", begun)
            raise
        self._count(operation, "ok" if made(answer) else "conflict", begun)
        return answer

    def _count(self, operation: StoreOperation, result: StoreResult, begun: float) -> None:
        self._last = self._monotonic()
        self._metrics.store(operation, result, self._last - begun)
