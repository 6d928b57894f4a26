"""The background tasks of the issuer: follow the store, and write the snapshot, revocations, credential usage
and the session store in use.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from scopewright.issuer.observability.metrics import IssuerMetrics
from scopewright.issuer.observability.session_store import MeasuredSessions
from scopewright.issuer.observability.usage import CredentialUsage
from scopewright.issuer.readiness import Readiness
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.issuer.state.follow import Follower
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.rate_budget import Clock
from scopewright.serving.replay import ReplayStore
from scopewright.serving.supervise import SupervisedTasks

log: Final = logging.getLogger(__name__)


class UserParts(Protocol):
    """What is stored about users, and the clients of identity providers."""

    async def close(self) -> None:
        """Store what is not stored yet, and close connections to providers."""


@dataclass(frozen=True, slots=True)
class Background:
    """`usage` is None if the issuer has no write access; `store_timeout` is in seconds."""

    registry: Registry
    follower: Follower
    revocations: Revocations
    readiness: Readiness
    metrics: IssuerMetrics
    tasks: SupervisedTasks
    replay: ReplayStore
    clock: Clock
    snapshots: SnapshotFile | None
    usage: CredentialUsage | None
    store_timeout: float
    users: UserParts | None = None
    """None: there are no endpoints for users."""
    sessions: MeasuredSessions | None = None
    """The store of `users`."""
    session_stores: SessionStoreGuard | None = None
    """None: there are no endpoints for users, or no write access."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start from the snapshot, if there is one, and follow the store until the block ends.

        With a snapshot, the store's lists are awaited for `store_timeout` first: the JWKS of an old snapshot may lack
        keys that already sign.
        """
        loaded = self._load_snapshot()
        self.tasks.start("follow", self.follower.run, needed=True)
        if self.metrics.shared:
            self.tasks.start("metrics", self.metrics.run)
        if self.snapshots is not None:
            self.tasks.start("snapshot", self.snapshots.run)
        if self.sessions is not None:
            self.tasks.start("session store", self.sessions.watch)
        if self.usage is not None:
            self.tasks.start("revocations", self.revocations.run)
            self.tasks.start("usage", self.usage.run)
        if self.session_stores is not None:
            self.tasks.start("session stores", self.session_stores.run)
        fallback = asyncio.create_task(self._accept_snapshot_later(), name="fallback") if loaded else None
        try:
            yield
        finally:
            if fallback is not None:
                fallback.cancel()
            if self.users is not None:
                await self.users.close()
            await self.tasks.stop()
            if self.usage is not None:
                await self.revocations.finish()
                await self.usage.finish()
            if self.session_stores is not None:
                await self.session_stores.finish()
            await self.replay.close()

    async def _accept_snapshot_later(self) -> None:
        await asyncio.sleep(self.store_timeout)
        self.readiness.accept_snapshot()

    def _load_snapshot(self) -> bool:
        """Whether the snapshot has everything that tokens need."""
        if self.snapshots is None:
            return False
        count = 0
        for change in self.snapshots.load():
            if change.existing.ref == self.revocations.ref:
                self.revocations.apply(change)
            elif self.registry.apply(change, self.clock()):
                count += 1
            else:
                self.snapshots.forget(change.existing.ref)
        if count:
            log.info("loaded %d objects from the snapshot", count)
        return self.registry.issuer is not None and bool(self.registry.keys)
