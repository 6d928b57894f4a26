"""The store of both harnesses: objects in memory, followers, and failures on demand.

`scopewright.plan.memory_store` keeps objects under preconditions. This store adds followers, lists of reads and writes,
and the failures of a real server:

- `fail(error, at, point)`: one write fails, before it is done or after (its answer is lost). `Crash` ends the process.
- `refuse(target, error)`: every write of some objects fails, until `stop_refusing()`.
- `unavailable = True`: every read and write fails, and nothing can be followed anew.
- `hold_reads()`: reads get no answer until `release_reads()`.

`put`, `edit` and `delete_by_hand` are what another writer does: no precondition. `notify=False` hides that from the
followers, as a slow watch does; `relist()` lists everything to them again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Deletion, Desired, Existing, Ref, digest
from scopewright.plan import memory_store as memory
from scopewright.plan.memory_store import StoredObject
from scopewright.stores import Change, Entries, ListCompleted, Selection

T = TypeVar("T")
Point = Literal["before", "after"]


class Crash(BaseException):
    """The process ends here. Not an `Exception`, so that no handler of errors catches it."""


@dataclass
class InjectedFailure:
    """The error of the nth write from now (0: the next), raised before or after the write is done."""

    at: int
    point: Point
    error: BaseException


@dataclass
class MemoryStore(memory.MemoryStore):
    """See `stores.Store`."""

    concurrent: bool = False
    """Whether other tasks run before a write is done, as with a server. Otherwise no call ever suspends."""
    unavailable: bool = False
    failures: list[InjectedFailure] = field(default_factory=list)
    """Still to come."""
    refusals: dict[str, Exception] = field(default_factory=dict)
    """Errors of all writes of the objects whose `Ref`, as text, starts with the key."""
    refused_writes: list[str] = field(default_factory=list)
    """Writes that `refusals` prevented, as text."""
    writes: list[str] = field(default_factory=list)
    """Writes that were done, as text: `replace Secret leave/worker-oauth`."""
    reads: list[Ref] = field(default_factory=list)
    read_started: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by every read."""
    after_write: Callable[[], None] = lambda: None
    """Called after each write and before its answer: the place to check invariants."""
    unconfirmed: set[Ref] = field(default_factory=set)
    """Declared objects for which `confirm_deleted` returns `unknown`."""
    deleted_by_hand: set[Ref] = field(default_factory=set)
    """Objects that `delete_by_hand` has deleted and that were not written since: invariants do not cover them."""
    _held_reads: asyncio.Event | None = None
    _followers: list[tuple[Selection, "asyncio.Queue[Change | ListCompleted]"]] = field(default_factory=list)

    # Failures

    def fail(self, error: BaseException, at: int = 0, point: Point = "before") -> None:
        """One write fails: the nth from now, 0 for the next."""
        self.failures.append(InjectedFailure(at, point, error))

    def refuse(self, target: str, error: Exception) -> None:
        """Every write fails whose target starts so: `Secret leave/` means all Secrets of the namespace `leave`.

        `Rejected`: only a user can fix it, as with an admission webhook. `Unavailable`: a retry may succeed.
        `OperatorHarness.settle` fails meanwhile: use `reconcile_all`.
        """
        self.refusals[target] = error

    def stop_refusing(self) -> None:
        self.refusals.clear()

    def hold_reads(self) -> None:
        self._held_reads = asyncio.Event()

    def release_reads(self) -> None:
        """Waiting reads get the current content of the store."""
        if self._held_reads is not None:
            self._held_reads.set()
            self._held_reads = None

    # Other writers

    def put(self, existing: Existing, entries: Mapping[str, bytes], *, notify: bool = True) -> Existing:
        """Create or replace. UID, version and digests are made here, the creation time if `existing` has none."""
        known = self.objects.get(existing.ref)
        stored = super()._put(replace(existing, entries={n: digest(v) for n, v in entries.items()}), entries)
        if known is None and existing.creation_time is not None:
            stored = replace(stored, creation_time=existing.creation_time)
            self.objects[stored.ref] = StoredObject(stored, dict(entries))
        self._stored(stored, entries, known, notify=notify)
        return stored

    def edit(self, ref: Ref, **entries: bytes) -> None:
        held = self.objects[ref]
        self.put(held.existing, {**held.entries, **entries})

    def delete_by_hand(self, ref: Ref, *, notify: bool = True) -> Change:
        """Delete without a precondition. Returns the event that followers get, even if they are not notified."""
        self.deleted_by_hand.add(ref)
        return self._remove(ref, notify=notify)

    def relist(self) -> None:
        """All followers get a new list, as after a watch was interrupted."""
        for selection, queue in self._followers:
            for event in self._list(selection):
                queue.put_nowait(event)

    # Content

    def entry(self, ref: Ref, name: str) -> bytes:
        return self.objects[ref].entries[name]

    @property
    def resource_version(self) -> str:
        """The version of the newest object, or of the newest deletion."""
        return str(self._version)

    def selected(self, selection: Selection) -> list[StoredObject]:
        return [h for h in self.objects.values() if _selects(selection, h.existing)]

    # Store

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        self.reads.append(ref)
        self.read_started.set()
        if self._held_reads is not None:
            await self._held_reads.wait()
        self._check_available()
        return await super().read(ref)

    async def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        self._check_available()
        queue: asyncio.Queue[Change | ListCompleted] = asyncio.Queue()
        listed = self._list(selection)
        self._followers.append((selection, queue))
        for event in listed:
            yield event
        while True:
            yield await queue.get()

    async def write(self, desired: Desired) -> Existing:
        verb = "replace" if desired.replaces else "create"
        return await self._do(verb, desired.ref, lambda: self._write(desired))

    async def delete(self, deletion: Deletion) -> None:
        await self._do("delete", deletion.existing.ref, lambda: self._delete(deletion))

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        meta = manifest["metadata"]
        ref = Ref(manifest["kind"], meta["namespace"], meta["name"])
        return await self._do("status of", ref, lambda: self._write_status(manifest, status))

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "deleted", "unknown"]:
        return "unknown" if ref in self.unconfirmed else await super().confirm_deleted(ref, uid, since)

    # Within

    def _check_available(self) -> None:
        if self.unavailable:
            raise Unavailable("no connection", retry_after=3.0)

    async def _do(self, verb: str, ref: Ref, do: Callable[[], T]) -> T:
        if self.concurrent:
            await asyncio.sleep(0)
        self._check_available()
        text = f"{verb} {ref}"
        for target, error in self.refusals.items():
            if str(ref).startswith(target):
                self.refused_writes.append(text)
                raise error
        due = next((f for f in self.failures if f.at == 0), None)
        self.failures = [replace(f, at=f.at - 1) for f in self.failures if f is not due]
        if due and due.point == "before":
            raise due.error
        result = do()
        self.writes.append(text)
        self.after_write()
        if due:
            raise due.error
        return result

    def _put(self, existing: Existing, entries: Mapping[str, bytes]) -> Existing:
        known = self.objects.get(existing.ref)
        stored = super()._put(existing, entries)
        self._stored(stored, entries, known, notify=True)
        return stored

    def _stored(
        self, stored: Existing, entries: Mapping[str, bytes], known: StoredObject | None, *, notify: bool
    ) -> None:
        self.deleted_by_hand.discard(stored.ref)
        if notify:
            self._notify(Change(stored, dict(entries)), known.existing if known else None)

    def _drop(self, ref: Ref) -> None:
        self._remove(ref, notify=True)

    def _remove(self, ref: Ref, *, notify: bool) -> Change:
        held = self.objects[ref]
        super()._drop(ref)
        change = Change(replace(held.existing, resource_version=self._next()), {}, deleted=True)
        if notify:
            self._notify(change, held.existing)
        return change

    def _list(self, selection: Selection) -> list[Change | ListCompleted]:
        listed = self.selected(selection)
        refs = frozenset(held.existing.ref for held in listed)
        return [*(Change(h.existing, dict(h.entries)) for h in listed), ListCompleted(refs, str(self._version))]

    def _notify(self, change: Change, before: Existing | None) -> None:
        """An object whose new labels are no longer selected is deleted for that follower, as in a watch."""
        for selection, queue in self._followers:
            now, then = _selects(selection, change.existing), before is not None and _selects(selection, before)
            if now:
                queue.put_nowait(change)
            elif then:
                queue.put_nowait(Change(change.existing, {}, deleted=True))


def _selects(selection: Selection, existing: Existing) -> bool:
    return (
        existing.ref.kind == selection.kind
        and selection.namespace in (None, existing.ref.namespace)
        and (selection.labels or {}).items() <= existing.labels.items()
    )
