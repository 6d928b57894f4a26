"""A store in memory that keeps its promises, and breaks down on demand: the other half of every simulation.

It holds Secrets, ConfigMaps and declared objects under preconditions like an API server, counts its writes, and can
refuse any of them (`Conflict`, `Unavailable`) or end the process before or after it (`Crash`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, cast

from scopewright.api import API_VERSION
from scopewright.core.failures import Conflict
from scopewright.core.objects import Deletion, Desired, Existing, Kept, Ref, digest
from scopewright.stores import Change, Entries, Selection, Snapshot

Raw = dict[str, Any]
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
class Held:
    existing: Existing
    entries: dict[str, bytes] = field(repr=False)


@dataclass
class MemoryStore:
    """See `stores.Store`. `clock` dates what is created."""

    clock: Callable[[], datetime]
    objects: dict[Ref, Held] = field(default_factory=dict)
    declared: dict[Ref, Raw] = field(default_factory=dict)
    trouble: list[Trouble] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    """Every write that was done, in words."""
    after_write: Callable[[], None] = lambda: None
    """Called after each write that was done, before its answer: the place to check what must always hold."""
    unknown: set[Ref] = field(default_factory=set)
    """Of these nobody can say whether they are gone."""
    taken: set[Ref] = field(default_factory=set)
    """What somebody deleted by hand and nobody has made again: until then its promises are broken by others."""
    reads: int = 0
    _version: int = 0
    _followers: list[tuple[Selection, "asyncio.Queue[Change | Snapshot]"]] = field(default_factory=list)

    # What a test does to the store

    def fail(self, error: BaseException, at: int = 0, point: Point = "before") -> None:
        self.trouble.append(Trouble(at, point, error))

    def apply(self, manifest: Mapping[str, Any]) -> Raw:
        """As a user does: the object with a UID, a version and a generation; its status stays."""
        meta = manifest["metadata"]
        ref = Ref(manifest["kind"], meta["namespace"], meta["name"])
        known = self.declared.get(ref)
        generation = known["metadata"]["generation"] + (known["spec"] != manifest.get("spec", {})) if known else 1
        raw: Raw = {
            "apiVersion": API_VERSION,
            "kind": ref.kind,
            "metadata": {
                **meta,
                "uid": known["metadata"]["uid"] if known else f"uid-{self._next()}",
                "generation": generation,
                "resourceVersion": self._next(),
            },
            "spec": manifest.get("spec", {}),
            **({"status": known["status"]} if known and "status" in known else {}),
        }
        self.declared[ref] = raw
        return raw

    def remove(self, ref: Ref, *, collect: bool = True) -> None:
        """As a user deletes a declared object, and the garbage collector what it owns."""
        uid = self.declared.pop(ref)["metadata"]["uid"]
        for held in [h for h in self.objects.values() if collect and h.existing.owner_uids == (uid,)]:
            self._gone(held.existing.ref)

    def put(self, existing: Existing, entries: Mapping[str, bytes]) -> Existing:
        """As somebody else writes: no precondition. Version, UID and digests are made here."""
        known = self.objects.get(existing.ref)
        stored = replace(
            existing,
            uid=known.existing.uid if known else f"uid-{self._next()}",
            resource_version=self._next(),
            entries={name: digest(value) for name, value in entries.items()},
            creation_time=known.existing.creation_time if known else self.clock(),
        )
        self.objects[existing.ref] = Held(stored, dict(entries))
        self.taken.discard(existing.ref)
        self._tell(Change(stored, dict(entries)), known.existing if known else None)
        return stored

    def edit(self, ref: Ref, **entries: bytes) -> None:
        held = self.objects[ref]
        self.put(held.existing, {**held.entries, **entries})

    def drop(self, ref: Ref) -> None:
        """As somebody deletes it by hand."""
        self.taken.add(ref)
        self._gone(ref)

    def _gone(self, ref: Ref) -> None:
        held = self.objects.pop(ref)
        self._tell(Change(replace(held.existing, resource_version=self._next()), {}, gone=True), held.existing)

    def entry(self, ref: Ref, name: str) -> bytes:
        return self.objects[ref].entries[name]

    def selected(self, selection: Selection) -> list[Held]:
        return [h for h in self.objects.values() if _selects(selection, h.existing)]

    # Store

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        self.reads += 1
        held = self.objects.get(ref)
        return (held.existing, dict(held.entries)) if held else None

    async def follow(self, selection: Selection) -> AsyncIterator[Change | Snapshot]:
        queue: asyncio.Queue[Change | Snapshot] = asyncio.Queue()
        listed = self.selected(selection)
        self._followers.append((selection, queue))
        for held in listed:
            yield Change(held.existing, dict(held.entries))
        yield Snapshot(frozenset(h.existing.ref for h in listed), str(self._version))
        while True:
            yield await queue.get()

    async def write(self, desired: Desired) -> Existing:
        def do() -> Existing:
            held = self.objects.get(desired.ref)
            known, was = (held.existing, held.entries) if held else (None, {})
            if _identity(known) != _identity(desired.replaces):
                raise Conflict(f"{desired.ref} has changed since it was read")
            entries = {name: _value(desired, value, was) for name, value in desired.entries.items()}
            owners = (desired.owner.uid,) if desired.owner else known.owner_uids if known else ()
            return self.put(
                Existing(
                    desired.ref, "", "", desired.type,
                    {**(known.labels if known else {}), **desired.labels},
                    {**(known.annotations if known else {}), **desired.annotations},
                    owners,
                ),
                entries,
            )  # fmt: skip

        return cast("Existing", self._do(f"{'replace' if desired.replaces else 'create'} {desired.ref}", do))

    async def delete(self, deletion: Deletion) -> None:
        def do() -> None:
            held = self.objects.get(deletion.existing.ref)
            if held is None:
                return
            if _identity(held.existing) != _identity(deletion.existing):
                raise Conflict(f"{deletion.existing.ref} has changed since it was read")
            self._gone(deletion.existing.ref)

        self._do(f"delete {deletion.existing.ref}", do)

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        meta = manifest["metadata"]
        ref = Ref(manifest["kind"], meta["namespace"], meta["name"])

        def do() -> Raw:
            raw = self.declared.get(ref)
            if raw is None or raw["metadata"]["resourceVersion"] != meta["resourceVersion"]:
                raise Conflict(f"{ref} has changed since it was read")
            written = {**raw, "status": status, "metadata": {**raw["metadata"], "resourceVersion": self._next()}}
            self.declared[ref] = written
            return written

        return cast("Raw", self._do(f"status of {ref}", do))

    async def absence(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "gone", "unknown"]:
        if ref in self.unknown:
            return "unknown"
        raw = self.declared.get(ref)
        return "present" if raw and raw["metadata"]["uid"] == uid else "gone"

    # Within

    def _do(self, what: str, do: Callable[[], object]) -> object:
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

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _tell(self, change: Change, before: Existing | None) -> None:
        """Whoever follows: what leaves a selection by a change of labels is gone from it, as in a watch."""
        for selection, queue in self._followers:
            now, then = _selects(selection, change.existing), before is not None and _selects(selection, before)
            if now:
                queue.put_nowait(change)
            elif then:
                queue.put_nowait(Change(change.existing, {}, gone=True))


def _identity(existing: Existing | None) -> tuple[str, str] | None:
    return (existing.uid, existing.resource_version) if existing else None


def _selects(selection: Selection, existing: Existing) -> bool:
    return (
        existing.ref.kind == selection.kind
        and selection.namespace in (None, existing.ref.namespace)
        and (selection.labels or {}).items() <= existing.labels.items()
    )


def _value(desired: Desired, value: bytes | Kept, was: Mapping[str, bytes]) -> bytes:
    if isinstance(value, bytes):
        return value
    held = was.get(value.entry)
    if held is None or digest(held) != value.sha256:
        raise Conflict(f"{desired.ref} no longer holds what was to be kept")
    return held
