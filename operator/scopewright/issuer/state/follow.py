"""Keeps the registry in step with the store."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, ManagedKind
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.logs import OncePerProblem
from scopewright.stores import Change, ListCompleted, Reader, Selection

log: Final = logging.getLogger(__name__)

KINDS: Final[tuple[ManagedKind, ...]] = ("Secret", "ConfigMap")
_LABELS: Final = {MANAGED_BY: MANAGER}
_EVENTS_BETWEEN_YIELDS: Final = 32
_BACKOFF_SECONDS: Final = (1.0, 2.0, 5.0, 10.0)


class Follower:
    """Follows Secrets and ConfigMaps of the issuer's namespace; `incomplete` are the kinds without a full list yet."""

    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        revocations: Revocations,
        snapshots: SnapshotFile | None,
        *,
        clock: Clock,
        changed: Callable[[], None],
        session_stores: SessionStoreGuard | None = None,
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._revocations = revocations
        self._snapshots = snapshots
        self._clock = clock
        self._changed = changed
        self._session_stores = session_stores
        self._applied = 0
        self.incomplete: set[ManagedKind] = set(KINDS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                group.create_task(self._follow(kind), name=f"follow {kind}")

    async def _follow(self, kind: ManagedKind) -> None:
        """Runs until cancelled. A failure is logged once and retried; the registry keeps what it has."""
        failures = 0
        warning = OncePerProblem(log, f"following {kind}s in {self._registry.namespace}: %s")
        selection = Selection(kind, self._registry.namespace, _LABELS)
        while True:
            try:
                async for event in self._reader.follow(selection):
                    warning.clear()
                    failures = 0
                    self._apply(kind, event)
                    await self._yield_to_requests()
                warning.report("the store ended the watch")
            except (Rejected, Unavailable) as failure:
                warning.report(failure.message)
            except Exception:
                log.exception("following %ss failed", kind)
                warning.report("unexpected error")
            pause = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
            await asyncio.sleep(with_jitter(pause))
            failures += 1

    async def _yield_to_requests(self) -> None:
        """A list of ten thousand objects must not delay token requests."""
        self._applied += 1
        if self._applied % _EVENTS_BETWEEN_YIELDS == 0:
            await asyncio.sleep(0)

    def _apply(self, kind: ManagedKind, event: Change | ListCompleted) -> None:
        if isinstance(event, ListCompleted):
            for ref in self._registry.complete(kind, event.refs, self._clock()):
                if self._snapshots is not None:
                    self._snapshots.forget(ref)
            if self.incomplete == {kind}:
                self._revocations.repeat(self._registry.ended_logins())
            self.incomplete.discard(kind)
        elif event.existing.ref == self._revocations.ref:
            self._revocations.apply(event)
        elif self._session_stores is not None and event.existing.ref == self._session_stores.ref:
            self._session_stores.apply(event)
        elif self._registry.apply(event, self._clock()) and self._snapshots is not None:
            self._snapshots.keep(event)
        self._changed()
