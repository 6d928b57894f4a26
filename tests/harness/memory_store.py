"""A store in memory that breaks down on demand: the other half of every simulation.

To what `stores.memory` keeps under preconditions it adds followers, a count of writes, and trouble: any write may be
refused (`Conflict`, `Unavailable`), or end the process before or after it (`Crash`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from scopewright.core.objects import Deletion, Desired, Existing, Ref, digest
from scopewright.plan import memory_store as memory
from scopewright.plan.memory_store import StoredObject
from scopewright.stores import Change, Entries, ListCompleted, Selection

T = TypeVar("T")
Point = Literal["before", "after"]


class Crash(BaseException):
    """The process is no more. Nobody may catch it who catches exceptions."""


@dataclass
class Trouble:
    """What happens at the nth write from now (0 is the next): before it is done, or after, with its answer lost."""

    at: int
    point: Point
    error: BaseException


@dataclass
class MemoryStore(memory.MemoryStore):
    """See `stores.Store`."""

    trouble: list[Trouble] = field(default_factory=list)
    refused: dict[str, Exception] = field(default_factory=dict)
    """What happens at every write of an object whose `Ref`, in words, begins like this, for as long as it is here."""
    tried: list[str] = field(default_factory=list)
    """Every write that was refused so, in words."""
    writes: list[str] = field(default_factory=list)
    """Every write that was done, in words."""
    after_write: Callable[[], None] = lambda: None
    """Called after each write that was done, before its answer: the place to check what must always hold."""
    unknown: set[Ref] = field(default_factory=set)
    """Of these nobody can say whether they are gone."""
    taken: set[Ref] = field(default_factory=set)
    """What somebody deleted by hand and nobody has made again: until then its promises are broken by others."""
    reads: int = 0
    _followers: list[tuple[Selection, "asyncio.Queue[Change | ListCompleted]"]] = field(default_factory=list)

    # What a test does to the store

    def fail(self, error: BaseException, at: int = 0, point: Point = "before") -> None:
        self.trouble.append(Trouble(at, point, error))

    def put(self, existing: Existing, entries: Mapping[str, bytes]) -> Existing:
        """As somebody else writes: no precondition. Version, UID and digests are made here."""
        return self._put(replace(existing, entries={n: digest(v) for n, v in entries.items()}), entries)

    def edit(self, ref: Ref, **entries: bytes) -> None:
        held = self.objects[ref]
        self.put(held.existing, {**held.entries, **entries})

    def drop(self, ref: Ref) -> None:
        """As somebody deletes it by hand."""
        self.taken.add(ref)
        self._drop(ref)

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
        self.reads += 1
        return await super().read(ref)

    async def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        queue: asyncio.Queue[Change | ListCompleted] = asyncio.Queue()
        listed = self.selected(selection)
        self._followers.append((selection, queue))
        for held in listed:
            yield Change(held.existing, dict(held.entries))
        yield ListCompleted(frozenset(h.existing.ref for h in listed), str(self._version))
        while True:
            yield await queue.get()

    async def write(self, desired: Desired) -> Existing:
        what = f"{'replace' if desired.replaces else 'create'} {desired.ref}"
        return self._do(what, lambda: self._write(desired))

    async def delete(self, deletion: Deletion) -> None:
        self._do(f"delete {deletion.existing.ref}", lambda: self._delete(deletion))

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        meta = manifest["metadata"]
        ref = Ref(manifest["kind"], meta["namespace"], meta["name"])
        return self._do(f"status of {ref}", lambda: self._write_status(manifest, status))

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "deleted", "unknown"]:
        return "unknown" if ref in self.unknown else await super().confirm_deleted(ref, uid, since)

    # Within

    def _do(self, what: str, do: Callable[[], T]) -> T:
        for at, error in self.refused.items():
            if what.partition(" ")[2].startswith(at):
                self.tried.append(what)
                raise error
        due = next((t for t in self.trouble if t.at == 0), None)
        self.trouble = [replace(t, at=t.at - 1) for t in self.trouble if t is not due]
        if due and due.point == "before":
            raise due.error
        result = do()
        self.writes.append(what)
        self.after_write()
        if due:
            raise due.error
        return result

    def _put(self, existing: Existing, entries: Mapping[str, bytes]) -> Existing:
        known = self.objects.get(existing.ref)
        stored = super()._put(existing, entries)
        self.taken.discard(existing.ref)
        self._tell(Change(stored, dict(entries)), known.existing if known else None)
        return stored

    def _drop(self, ref: Ref) -> None:
        held = self.objects[ref]
        super()._drop(ref)
        self._tell(Change(replace(held.existing, resource_version=self._next()), {}, deleted=True), held.existing)

    def _tell(self, change: Change, before: Existing | None) -> None:
        """Whoever follows: what leaves a selection by a change of labels is gone from it, as in a watch."""
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
