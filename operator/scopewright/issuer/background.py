"""What the issuer does beside answering: follow the store, and write the snapshot, revocations and credential usage."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from scopewright.issuer.authentication.replay import ReplayStore
from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.usage import CredentialUsage
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.readiness import Readiness
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.serving.supervise import SupervisedTasks
from scopewright.issuer.state.follow import Follower
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile

log: Final = logging.getLogger(__name__)


class Background:
    """`usage` is None if the issuer has no write access; `store_timeout` is in seconds."""

    def __init__(
        self,
        registry: Registry,
        follower: Follower,
        revocations: Revocations,
        readiness: Readiness,
        metrics: IssuerMetrics,
        tasks: SupervisedTasks,
        replay: ReplayStore,
        clock: Clock,
        *,
        snapshots: SnapshotFile | None,
        usage: CredentialUsage | None,
        store_timeout: float,
    ) -> None:
        self._registry = registry
        self._follower = follower
        self._revocations = revocations
        self._readiness = readiness
        self._metrics = metrics
        self._tasks = tasks
        self._replay = replay
        self._clock = clock
        self._snapshots = snapshots
        self._usage = usage
        self._store_timeout = store_timeout

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start from the snapshot, if there is one, and follow the store until the block ends.

        With a snapshot, the store's lists are awaited for `store_timeout` first: the JWKS of an old snapshot may lack
        keys that already sign.
        """
        loaded = self._load_snapshot()
        self._tasks.start("follow", self._follower.run, needed=True)
        if self._metrics.shared:
            self._tasks.start("metrics", self._metrics.run)
        if self._snapshots is not None:
            self._tasks.start("snapshot", self._snapshots.run)
        if self._usage is not None:
            self._tasks.start("revocations", self._revocations.run)
            self._tasks.start("usage", self._usage.run)
        fallback = asyncio.create_task(self._accept_snapshot_later(), name="fallback") if loaded else None
        try:
            yield
        finally:
            if fallback is not None:
                fallback.cancel()
            await self._tasks.stop()
            if self._usage is not None:
                await self._revocations.finish()
                await self._usage.finish()
            await self._replay.close()

    async def _accept_snapshot_later(self) -> None:
        await asyncio.sleep(self._store_timeout)
        self._readiness.accept_snapshot()

    def _load_snapshot(self) -> bool:
        """Whether the snapshot has everything that tokens need."""
        if self._snapshots is None:
            return False
        count = 0
        for change in self._snapshots.load():
            if change.existing.ref == self._revocations.ref:
                self._revocations.take(change)
            elif self._registry.apply(change, self._clock()):
                count += 1
            else:
                self._snapshots.forget(change.existing.ref)
        if count:
            log.info("loaded %d objects from the snapshot", count)
        return self._registry.issuer is not None and bool(self._registry.keys)
