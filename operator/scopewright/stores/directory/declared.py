"""Declared objects in force, with the metadata an API server would set; stored in STATE across restarts.

An object stays in force as it last was while its manifest is broken or cannot be read: a typo stops nothing.
"""

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from scopewright.api import IdentityProvider
from scopewright.core.declared import parse_declared
from scopewright.core.failures import Conflict, Rejected
from scopewright.core.objects import Ref
from scopewright.core.providers.view import references
from scopewright.manifests.validate import Diagnostic, Manifests, manifest_ref, namespaces_of
from scopewright.stores.directory.atomic_files import make_directory, replace_file
from scopewright.stores.directory.data import NamedData
from scopewright.stores.directory.state_dir import StateDirectory

Object = Mapping[str, Any]
_DECLARED: Final = "declared"
_STATUS: Final = "status"


@dataclass(frozen=True, slots=True)
class ManifestChange:
    """Differences from before, and all current problems. Removed objects are as they last were.

    `named` are Secrets and ConfigMaps that IdentityProviders name, of which anything changed.
    """

    added_or_changed: Mapping[Ref, Object]
    removed: Mapping[Ref, Object]
    problems: tuple[Diagnostic, ...] = ()
    named: frozenset[Ref] = frozenset()
    applied: bool = True
    """Whether the STATE could be written."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing but the problems differs."""
        return not (self.added_or_changed or self.removed or self.named)


@dataclass(frozen=True, slots=True)
class _Entry:
    object: Object
    file: str


class DeclaredObjects:
    """The declared objects. Thread-safe; returned values are never changed."""

    def __init__(self, state: StateDirectory, now: Callable[[], datetime], new_uid: Callable[[], str]) -> None:
        self._state = state
        self._now = now
        self._new_uid = new_uid
        self._mutex = threading.RLock()
        self._entries: dict[Ref, _Entry] = {}
        self._reported: Mapping[Ref, Object] = {}
        self._removed: dict[Ref, Object] = {}
        self._last_manifests: Manifests | None = None
        self.data = NamedData(new_uid, self._next)
        self._load()
        versions = [int(e.object["metadata"]["resourceVersion"]) for e in self._entries.values()]
        self._version = max([int(now().timestamp() * 1e6), *versions])

    @property
    def state(self) -> Path:
        return self._state.root

    @property
    def objects(self) -> Mapping[Ref, Object]:
        """Everything in force, by reference."""
        with self._mutex:
            return {ref: entry.object for ref, entry in self._entries.items()}

    @property
    def uids(self) -> frozenset[str]:
        return frozenset(o["metadata"]["uid"] for o in self.objects.values())

    def apply(self, manifests: Manifests, spared: frozenset[Ref] = frozenset()) -> ManifestChange:
        """Apply the manifests; missing objects are removed unless spared. The first call reports all as changed."""
        self._state.check_writable()
        with self._mutex:
            self._last_manifests = manifests
            for ref in self.missing(manifests) - spared:
                self._forget(ref)
            for ref, manifest in manifests.objects.items():
                if not self._kept_by_earlier_file(ref, manifests):
                    self._declare(ref, manifest, manifests.sources[ref].file)
            current = dict(self.objects)
            changed = {ref: value for ref, value in current.items() if _differs(self._reported.get(ref), value)}
            removed, self._reported, self._removed = self._removed, current, {}
            named, problems = self.data.apply(manifests, named_data(current))
            return ManifestChange(changed, removed, tuple(sorted((*manifests.problems, *problems))), named)

    def missing(self, manifests: Manifests) -> frozenset[Ref]:
        """Return the objects that these manifests would remove."""
        with self._mutex:
            return frozenset(ref for ref, entry in self._entries.items() if not self._stays(ref, entry, manifests))

    def confirm_deleted(self, ref: Ref, uid: str) -> Literal["present", "deleted", "unknown"]:
        """Return `unknown` before the first read, and while the manifest cannot be read; a removal is certain."""
        with self._mutex:
            entry, manifests = self._entries.get(ref), self._last_manifests
            if manifests is None or not manifests.readable:
                return "unknown"
            if entry is None or entry.object["metadata"]["uid"] != uid:
                return "deleted"
            return "present" if ref in manifests.objects and ref not in manifests.broken else "unknown"

    def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Object:
        """`Conflict` unless the manifest is the object in force; nothing is written where the status is the same."""
        ref = manifest_ref(manifest)
        plain = json.loads(json.dumps(status))
        with self._mutex:
            entry = self._entries.get(ref)
            given, known = manifest["metadata"], entry.object["metadata"] if entry else {}
            if entry is None or any(given.get(k) != known[k] for k in ("uid", "resourceVersion")):
                raise Conflict(f"{ref} has changed since it was read")
            if entry.object.get("status") == plain:
                return entry.object
            text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
            self._write(self._path(_STATUS, ref, "yaml"), text.encode())
            written = {**entry.object, "metadata": {**known, "resourceVersion": self._next()}, "status": plain}
            self._entries[ref] = _Entry(written, entry.file)
            return written

    def namespaces(self) -> dict[str, dict[str, str]]:
        """Labels by name: namespaces declared, and those that objects are in."""
        return namespaces_of(self.objects)

    def _stays(self, ref: Ref, entry: _Entry, manifests: Manifests) -> bool:
        return (
            not manifests.readable
            or ref in manifests.objects
            or ref in manifests.broken
            or manifests.is_incomplete(entry.file)
        )

    def _kept_by_earlier_file(self, ref: Ref, manifests: Manifests) -> bool:
        """The first declaration wins; while its file cannot be read, its last valid version does."""
        entry = self._entries.get(ref)
        return entry is not None and entry.file < manifests.sources[ref].file and manifests.is_incomplete(entry.file)

    def _declare(self, ref: Ref, manifest: Object, file: str) -> None:
        before = self._entries.get(ref)
        declared = self._changed(manifest, before.object) if before else self._created(manifest)
        if before and before.file == file and declared is before.object:
            return
        kept = {k: v for k, v in declared.items() if k != "status"}
        self._write(self._path(_DECLARED, ref, "json"), json.dumps({"object": kept, "file": file}).encode())
        self._entries[ref] = _Entry(declared, file)

    def _created(self, manifest: Object) -> Object:
        now = f"{self._now().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        assigned = {"uid": self._new_uid(), "generation": 1, "creationTimestamp": now, "resourceVersion": self._next()}
        return {**manifest, "metadata": {**manifest["metadata"], **assigned}}

    def _changed(self, manifest: Object, before: Object) -> Object:
        if _declared(before) == _declared(manifest):
            return before
        assigned = {key: before["metadata"][key] for key in _ASSIGNED} | {"resourceVersion": self._next()}
        assigned["generation"] += before.get("spec") != manifest.get("spec")
        status = {"status": before["status"]} if "status" in before else {}
        return {**manifest, "metadata": {**manifest["metadata"], **assigned}, **status}

    def _forget(self, ref: Ref) -> None:
        self._path(_STATUS, ref, "yaml").unlink(missing_ok=True)
        self._path(_DECLARED, ref, "json").unlink(missing_ok=True)
        self._removed[ref] = self._entries.pop(ref).object

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _path(self, folder: str, ref: Ref, ending: str) -> Path:
        return self._state.root / folder / ref.kind.lower() / (ref.namespace or "_cluster") / f"{ref.name}.{ending}"

    def _write(self, path: Path, data: bytes) -> None:
        self._state.check_writable()
        make_directory(path.parent)
        replace_file(path, data, self._state.spare())

    def _load(self) -> None:
        for path in sorted((self._state.root / _DECLARED).glob("*/*/*.json")):
            entry = _remembered(path)
            if entry is None:
                raise Rejected(
                    "DamagedState", f"{path} is damaged: restore it, or remove it so that the object is created again"
                )
            ref = manifest_ref(entry.object)
            status = _status(self._path(_STATUS, ref, "yaml"))
            self._entries[ref] = _Entry({**entry.object, "status": status} if status else entry.object, entry.file)


_ASSIGNED: Final = ("uid", "generation", "resourceVersion", "creationTimestamp")


def _declared(value: Object) -> dict[str, Any]:
    metadata = {k: v for k, v in value["metadata"].items() if k not in _ASSIGNED}
    return {**{k: v for k, v in value.items() if k != "status"}, "metadata": metadata}


def named_data(objects: Mapping[Ref, Object]) -> frozenset[Ref]:
    """The Secrets and ConfigMaps that the IdentityProviders among the objects name."""
    named: set[Ref] = set()
    for ref, value in objects.items():
        if ref.kind == IdentityProvider.KIND:
            with suppress(Rejected):  # an earlier version stored it, and this one cannot read it
                provider = parse_declared(value)
                named |= set(references(provider)) if isinstance(provider, IdentityProvider) else set()
    return frozenset(named)


def _differs(reported: Object | None, current: Object) -> bool:
    """Whether the object without its status differs."""
    return (
        reported is None
        or reported["metadata"]["uid"] != current["metadata"]["uid"]
        or _declared(reported) != _declared(current)
    )


def _remembered(path: Path) -> _Entry | None:
    try:
        value = json.loads(path.read_bytes())
        entry = _Entry(value["object"], str(value["file"]))
        metadata = entry.object["metadata"]
        whole = isinstance(metadata["uid"], str) and isinstance(metadata["generation"], int)
        whole = whole and int(metadata["resourceVersion"]) > 0 and isinstance(metadata["creationTimestamp"], str)
        ref = manifest_ref(entry.object)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if whole and (ref.name, ref.kind.lower()) == (path.stem, path.parent.parent.name) else None


def _status(path: Path) -> dict[str, Any] | None:
    """The status as last written; None if it is damaged: no other write depends on it."""
    try:
        value = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
