"""A store in memory: Secrets, ConfigMaps and declared objects, with the preconditions of every store.

An object read from a cluster may be loaded as digests only; a `PreservedEntry` of a write stays a digest.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from scopewright.api import API_VERSION
from scopewright.core.failures import Conflict
from scopewright.core.objects import Deletion, Desired, Existing, PreservedEntry, Ref, require_unchanged
from scopewright.stores import Entries

Raw = dict[str, Any]


@dataclass
class StoredObject:
    """An object, and the content of its entries as far as it is known."""

    existing: Existing
    entries: dict[str, bytes] = field(repr=False)


@dataclass
class MemoryStore:
    """See `stores.Objects`. `clock` gives creation times. The store assigns UIDs and versions."""

    clock: Callable[[], datetime]
    objects: dict[Ref, StoredObject] = field(default_factory=dict)
    declared: dict[Ref, Raw] = field(default_factory=dict)
    _version: int = 0

    # What users and other controllers do

    def load(self, existing: Existing, entries: Entries) -> None:
        """Add an object read from a cluster, with its UID and version."""
        self._advance_version(existing.resource_version)
        self.objects[existing.ref] = StoredObject(existing, dict(entries))

    def load_declared(self, raw: Mapping[str, Any]) -> None:
        meta = raw["metadata"]
        self._advance_version(meta["resourceVersion"])
        self.declared[Ref(raw["kind"], meta["namespace"], meta["name"])] = dict(raw)

    def apply(self, manifest: Mapping[str, Any]) -> Raw:
        """Apply a manifest as a user does. Returns the object with UID, version and generation; its status stays."""
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

    def remove(self, ref: Ref, *, collect: bool = True) -> tuple[Ref, ...]:
        """Delete a declared object as a user does, and its dependents as the garbage collector does; returns these."""
        uid = self.declared.pop(ref)["metadata"]["uid"]
        owned = tuple(at for at, stored in self.objects.items() if collect and stored.existing.owner_uids == (uid,))
        for at in owned:
            self._drop(at)
        return owned

    # Store

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        stored = self.objects.get(ref)
        return (stored.existing, dict(stored.entries)) if stored else None

    async def write(self, desired: Desired) -> Existing:
        return self._write(desired)

    async def preview(self, desired: Desired) -> Existing | None:
        return None

    async def delete(self, deletion: Deletion) -> None:
        self._delete(deletion)

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        return self._write_status(manifest, status)

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "deleted", "unknown"]:
        raw = self.declared.get(ref)
        return "present" if raw and raw["metadata"]["uid"] == uid else "deleted"

    def _write(self, desired: Desired) -> Existing:
        stored = self.objects.get(desired.ref)
        known, was = (stored.existing, stored.entries) if stored else (None, {})
        require_unchanged(desired.ref, known, desired.replaces)
        return self._put(
            Existing(
                desired.ref, "", "", desired.type,
                desired.labels_onto(known.labels if known else {}),
                desired.annotations_onto(known.annotations if known else {}),
                desired.owner_uids_onto(known.owner_uids if known else ()),
                {name: _digest(desired, name, known) for name in desired.entries},
            ),
            _contents(desired, was),
        )  # fmt: skip

    def _delete(self, deletion: Deletion) -> None:
        stored = self.objects.get(deletion.existing.ref)
        if stored is None:
            return
        require_unchanged(deletion.existing.ref, stored.existing, deletion.existing)
        self._drop(deletion.existing.ref)

    def _write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Raw:
        meta = manifest["metadata"]
        ref = Ref(manifest["kind"], meta["namespace"], meta["name"])
        raw = self.declared.get(ref)
        if raw is None or raw["metadata"]["resourceVersion"] != meta["resourceVersion"]:
            raise Conflict(f"{ref} has changed since it was read")
        written = {**raw, "status": status, "metadata": {**raw["metadata"], "resourceVersion": self._next()}}
        self.declared[ref] = written
        return written

    # Within

    def _put(self, existing: Existing, entries: Mapping[str, bytes]) -> Existing:
        """Store the object with a new version, without a precondition. Its digests are the caller's."""
        known = self.objects.get(existing.ref)
        stored = replace(
            existing,
            uid=known.existing.uid if known else f"uid-{self._next()}",
            resource_version=self._next(),
            creation_time=known.existing.creation_time if known else self.clock(),
        )
        self.objects[existing.ref] = StoredObject(stored, dict(entries))
        return stored

    def _drop(self, ref: Ref) -> None:
        del self.objects[ref]

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _advance_version(self, version: str) -> None:
        """Later versions of this store are greater than `version`."""
        self._version = max(self._version, int(version) if version.isdecimal() else 0)


def _digest(desired: Desired, name: str, known: Existing | None) -> str:
    value = desired.entries[name]
    if isinstance(value, PreservedEntry) and (known is None or known.entries.get(value.entry) != value.sha256):
        raise Conflict(f"{desired.ref} no longer has the value of entry {value.entry} that was to be kept")
    return desired.digests()[name]


def _contents(desired: Desired, was: Mapping[str, bytes]) -> dict[str, bytes]:
    """Content of the entries, as far as it is known."""
    contents = {n: was.get(v.entry) if isinstance(v, PreservedEntry) else v for n, v in desired.entries.items()}
    return {name: value for name, value in contents.items() if value is not None}
