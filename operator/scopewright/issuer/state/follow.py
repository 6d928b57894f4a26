"""Keeps the registry in step with the store."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from scopewright.core.objects import MANAGED_BY, MANAGER, ManagedKind
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.session_stores import SessionStoreGuard
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.rate_budget import Clock
from scopewright.serving.follow import follow
from scopewright.stores import Change, ListCompleted, Reader, Selection

KINDS: Final[tuple[ManagedKind, ...]] = ("Secret", "ConfigMap")
_LABELS: Final = {MANAGED_BY: MANAGER}


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
        self.incomplete: set[ManagedKind] = set(KINDS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                selection = Selection(kind, self._registry.namespace, _LABELS)
                group.create_task(follow(self._reader, selection, partial(self._apply, kind)), name=f"follow {kind}")

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
