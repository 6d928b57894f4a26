"""Writes to the store, and puts what was written into the cache at once, so that the next plan has it."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scopewright.controller.altered_writes import AlteredWrites
from scopewright.controller.cache import Cache
from scopewright.controller.index import Keys, status_target
from scopewright.controller.status_writes import StatusWrites
from scopewright.core.declared import Declared, parse_watched, ref_of
from scopewright.core.failures import NotLeading, Rejected
from scopewright.core.objects import Deletion, Existing, Ref, Write, is_progress
from scopewright.stores import Objects


class WriteThrough:
    """`key` is the object that is reconciled: `enqueue` is called for the others that depend on a write.

    `may_write` is called before each write: a replica that lost the Lease writes nothing.
    """

    def __init__(
        self,
        store: Objects,
        cache: Cache,
        clock: Callable[[], datetime],
        enqueue: Callable[[Ref], None],
        may_write: Callable[[], bool],
    ) -> None:
        self._store = store
        self._cache = cache
        self._enqueue = enqueue
        self._may_write = may_write
        self._alterations = AlteredWrites(clock)
        self.statuses = StatusWrites()

    def start_term(self) -> None:
        self._alterations.clear()

    async def write(self, key: Ref, write: Write) -> tuple[Rejected, Existing | None] | None:
        """Return None, or why the object does not stay as it is written, with what is stored (None: not written).

        A write that is known to be altered is repeated only if a part of it is new and is stored nevertheless: a
        credential, a revocation.
        """
        if not self._may_write():
            raise NotLeading
        if isinstance(write, Deletion):
            await self._store.delete(write)
            deleted = write.existing
            self.enqueue_others(key, self._cache.drop_managed(deleted.ref, deleted.resource_version))
            return None
        preview = await self._store.preview(write) if self._alterations.expected(write.ref) else None
        altered = self._alterations.at_write(write, preview) if preview else None
        if altered and preview and not is_progress(write, preview):
            return altered, None
        existing = await self._store.write(write)
        if altered := self._alterations.at_write(write, existing):
            await self.refresh(key, write.ref)
            return altered, existing
        entries = {name: value for name, value in write.entries.items() if isinstance(value, bytes)}
        if len(entries) < len(write.entries):
            await self.refresh(key, write.ref)
        else:
            self.enqueue_others(key, self._cache.wrote(existing, entries))
        undone = self._alterations.after_write(write)
        return (undone, existing) if undone else None

    async def write_status(self, obj: Declared, status: Mapping[str, Any]) -> None:
        if not self._may_write():
            raise NotLeading
        with self.statuses.writing(ref_of(obj)):
            self._cache.wrote_status(parse_watched(await self._store.write_status(status_target(obj), status), obj))

    async def refresh(self, key: Ref, ref: Ref) -> None:
        """Read a managed object into the cache."""
        found = await self._store.read(ref)
        keys = self._cache.put_managed(*found) if found else self._cache.drop_managed(ref)
        self.enqueue_others(key, keys)

    def enqueue_others(self, key: Ref, keys: Keys) -> None:
        for other in keys - {key}:
            self._enqueue(other)
