"""The store in a STATE directory: Secrets and ConfigMaps as files, laid out as kubelet mounts them.

One process writes (`open`), any number read (`open_readonly`). Every write is atomic.
"""

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.objects import (
    Deletion,
    Desired,
    Existing,
    ManagedKind,
    PreservedEntry,
    Ref,
    digest,
    require_unchanged,
)
from scopewright.stores import Change, Entries, ListCompleted, Selection
from scopewright.stores.directory import layout
from scopewright.stores.directory.declared import DeclaredObjects, Object
from scopewright.stores.directory.follow import follow
from scopewright.stores.directory.layout import Meta, Version
from scopewright.stores.directory.state_dir import StateDirectory

KINDS: Final[tuple[ManagedKind, ...]] = ("Secret", "ConfigMap")
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


def _new_uid() -> str:
    return str(uuid.uuid4())


class DirectoryStore:
    """Implements `Store`. `declared` holds the declared objects; a store opened for reading has none."""

    def __init__(self, state: StateDirectory, now: Callable[[], datetime], new_uid: Callable[[], str]) -> None:
        self._state = state
        self._now = now
        self._new_uid = new_uid
        self._mutex = threading.Lock()
        self._instant = 0
        self._followers: set[asyncio.Event] = set()
        self._declared = DeclaredObjects(state, now, new_uid) if state.writable else None

    @classmethod
    def open(
        cls, state: Path, issuer: str, *, now: Callable[[], datetime] = _now, new_uid: Callable[[], str] = _new_uid
    ) -> "DirectoryStore":
        """Open for writing, by one process; `Rejected` says why that fails and what to do."""
        opened = StateDirectory.open(state, issuer)
        try:
            store = cls(opened, now, new_uid)
            for ref in store._all():
                layout.repair(opened.directory_of(ref))
        except BaseException:
            opened.close()
            raise
        return store

    @classmethod
    def open_readonly(cls, state: Path) -> "DirectoryStore":
        return cls(StateDirectory.open_readonly(state), _now, _new_uid)

    @property
    def issuer(self) -> str:
        """The issuer URL of this STATE."""
        return self._state.issuer

    @property
    def declared(self) -> DeclaredObjects:
        if self._declared is None:
            raise Rejected("ReadOnly", "a STATE that is opened for reading has no declared objects")
        return self._declared

    def close(self) -> None:
        """Release the lock, so that another process can write."""
        self._state.close()

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        """The object of the STATE; if there is none, that of the directory which an IdentityProvider names."""
        version = await self._run(lambda: self._read(ref))
        if version is not None:
            return version.existing, version.entries
        return self._declared.data.read(ref) if self._declared else None

    def follow(self, selection: Selection, interval: float = 0.3) -> AsyncIterator[Change | ListCompleted]:
        """As `Reader.follow`; writes of this process are reported at once, others within about `interval` seconds."""
        return follow(self._state, selection, (self._read, self._mark), self._followers, interval)

    async def write(self, desired: Desired) -> Existing:
        existing = await self._run(lambda: self._write(desired))
        self._wake()
        return existing

    async def preview(self, desired: Desired) -> Existing | None:
        return None

    async def delete(self, deletion: Deletion) -> None:
        await self._run(lambda: self._delete(deletion))
        self._wake()

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        return await self._run(lambda: self.declared.write_status(manifest, status))

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "deleted", "unknown"]:
        return self._declared.confirm_deleted(ref, uid) if self._declared else "unknown"

    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """Labels by name, of declared namespaces and of those that objects are in."""
        return self.declared.namespaces()

    async def collect(self, uid: str) -> tuple[Ref, ...]:
        """Delete objects whose only owner is the deleted object `uid`, as a cluster's garbage collector does."""
        deleted = await self._run(lambda: self._collect(lambda owner: owner == uid))
        self._wake()
        return deleted

    async def collect_orphans(self) -> tuple[Ref, ...]:
        """The same for every owner that is no longer declared: call it once, after the manifests are read."""
        declared = self.declared.uids
        deleted = await self._run(lambda: self._collect(lambda owner: owner not in declared))
        self._wake()
        return deleted

    def _read(self, ref: Ref) -> Version | None:
        self._state.check()
        directory = self._state.directory_of(ref)
        with self._mutex:
            return layout.read(directory, ref)

    def _write(self, desired: Desired) -> Existing:
        self._state.check_writable()
        directory = self._state.directory_of(desired.ref)
        with self._mutex:
            current = layout.read(directory, desired.ref)
            require_unchanged(desired.ref, current.existing if current else None, desired.replaces)
            entries = {name: _entry(desired.ref, value, current) for name, value in desired.entries.items()}
            now = self._now()
            meta = self._meta(desired, current, now)
            layout.install(directory, meta, entries, now, self._state.spare())
            written = layout.read(directory, desired.ref)
        if written is None:
            raise Conflict(f"{desired.ref} was deleted while it was written")
        return written.existing

    def _meta(self, desired: Desired, current: Version | None, now: datetime) -> Meta:
        before = current.meta if current else Meta()
        after = layout.instant_of(current.existing.resource_version) if current else 0
        return Meta(
            uid=before.uid or self._new_uid(),
            version=self._tick(after),
            type=desired.type,
            created=before.created or now.astimezone(UTC).isoformat(),
            labels=desired.labels_onto(before.labels),
            annotations=desired.annotations_onto(before.annotations),
            owners=before.with_owner(desired.owner, desired.without_owner),
        )

    def _tick(self, after: int = 0) -> int:
        """A later instant than any before, also where the clock steps back."""
        self._instant = max(time.time_ns(), self._instant + 1, after + 1)
        return self._instant

    def _mark(self) -> str:
        """A resourceVersion: greater than those of earlier writes, smaller than those of later ones."""
        with self._mutex:
            return str(layout.resource_version(self._tick()))

    def _delete(self, deletion: Deletion) -> None:
        self._state.check_writable()
        ref = deletion.existing.ref
        directory = self._state.directory_of(ref)
        with self._mutex:
            current = layout.read(directory, ref)
            require_unchanged(ref, current.existing if current else None, deletion.existing)
            layout.remove(directory, self._state.spare())

    def _collect(self, over: Callable[[str], bool]) -> tuple[Ref, ...]:
        self._state.check_writable()
        deleted = []
        with self._mutex:
            for ref in self._all():
                version = layout.read(self._state.directory_of(ref), ref)
                if version and version.existing.owner_uids and all(map(over, version.existing.owner_uids)):
                    layout.remove(self._state.directory_of(ref), self._state.spare())
                    deleted.append(ref)
        return tuple(deleted)

    def _all(self) -> Iterator[Ref]:
        for kind in KINDS:
            yield from self._state.objects(kind)

    def _wake(self) -> None:
        for event in self._followers:
            event.set()

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            what = error.strerror or type(error).__name__
            raise Unavailable(f"the STATE directory {self._state.root} cannot be used: {what}") from error


def _entry(ref: Ref, value: bytes | PreservedEntry, current: Version | None) -> bytes:
    if isinstance(value, bytes):
        return value
    for content in current.entries.values() if current else ():
        if digest(content) == value.sha256:
            return content
    raise Conflict(f"{ref} no longer has the value of entry {value.entry} that was to be kept")
