"""Keeping the registry as the store is, for as long as the issuer runs."""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, OwnedKind
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.stores import Change, ListCompleted, Reader, Selection

log: Final = logging.getLogger(__name__)

KINDS: Final[tuple[OwnedKind, ...]] = ("Secret", "ConfigMap")
_LABELS: Final = {MANAGED_BY: MANAGER}
_AT_ONCE: Final = 32
_PAUSES: Final = (1.0, 2.0, 5.0, 10.0)


class Follower:
    """Follows Secrets and ConfigMaps of the issuer's namespace; `incomplete` are the lists not yet seen in full."""

    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        revocations: Revocations,
        snapshots: SnapshotFile | None,
        *,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._registry = registry
        self._revocations = revocations
        self._snapshots = snapshots
        self._clock = clock
        self._changed = changed
        self._taken = 0
        self.incomplete: set[OwnedKind] = set(KINDS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in KINDS:
                group.create_task(self._follow(kind), name=f"follow {kind}")

    async def _follow(self, kind: OwnedKind) -> None:
        """For ever: a failure is said once and met with patience, and what is known stays in force."""
        said, failures = "", 0
        selection = Selection(kind, self._registry.namespace, _LABELS)
        while True:
            try:
                async for event in self._reader.follow(selection):
                    said, failures = "", 0
                    self._take(kind, event)
                    await self._breathe()
                trouble = "the store ended the list"
            except (Rejected, Unavailable) as failure:
                trouble = failure.message
            except Exception:
                log.exception("following %ss failed", kind)
                trouble = "an unexpected error"
            if trouble != said:
                log.warning("following %ss in %s: %s", kind, self._registry.namespace, trouble)
            said = trouble
            pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 (spreads load)
            failures += 1

    async def _breathe(self) -> None:
        """A list of ten thousand must not keep the tokens waiting."""
        self._taken += 1
        if self._taken % _AT_ONCE == 0:
            await asyncio.sleep(0)

    def _take(self, kind: OwnedKind, event: Change | ListCompleted) -> None:
        if isinstance(event, ListCompleted):
            for ref in self._registry.complete(kind, event.refs, self._clock()):
                if self._snapshots is not None:
                    self._snapshots.forget(ref)
            self.incomplete.discard(kind)
        elif event.existing.ref == self._revocations.ref:
            self._revocations.take(event)
        elif self._registry.apply(event, self._clock()) and self._snapshots is not None:
            self._snapshots.keep(event)
        self._changed()
