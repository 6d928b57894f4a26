"""A Secret or ConfigMap as a directory, laid out as kubelet mounts one: all entries change in one step.

client_secret -> ..data/client_secret
..data -> ..2026_11_22_10_00_00.4f1c
..2026_11_22_10_00_00.4f1c/client_secret
..2026_11_22_10_00_00.4f1c/..meta.json    metadata of the object; no mount shows it
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, Owner, Ref, digest
from scopewright.manifests.files import Signature, read_regular, signature
from scopewright.stores.directory.atomic_files import (
    PRIVATE_DIRECTORY,
    checked_entry,
    make_directory,
    remove_tree,
    sync_directory,
    write_new,
)

DATA: Final = "..data"
META: Final = "..meta.json"
MAX_ENTRY: Final = 1 << 20
_STEP: Final = "..step"


@dataclass(frozen=True, slots=True)
class Meta:
    """Metadata of an object; empty where the directory was made by hand."""

    uid: str = ""
    version: int = 0
    """Greater than every one before, in nanoseconds since 1970."""
    type: str = ""
    created: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    owners: list[dict[str, str]] = field(default_factory=list)

    def encode(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Meta":
        """Empty where the file is damaged: the object then has no owner."""
        try:
            value = json.loads(data)
            meta = cls(**value)
            texts = [meta.uid, meta.type, meta.created, *_texts(meta.labels), *_texts(meta.annotations)]
            texts += [text for owner in meta.owners for text in _texts(owner)]
        except (ValueError, TypeError, AttributeError, RecursionError):
            return cls()
        sound = all(isinstance(text, str) for text in texts) and type(meta.version) is int and meta.version >= 0
        return meta if sound else cls()

    def with_owner(self, owner: Owner | None, without: str) -> list[dict[str, str]]:
        """The owners after a write that adds one and removes the one with the UID `without`."""
        others = [o for o in self.owners if o.get("uid") != without]
        if owner is None or any(o.get("uid") == owner.uid for o in others):
            return others
        return [*others, asdict(owner)]


@dataclass(frozen=True, slots=True)
class Version:
    """An object as read. `repr` shows no entry."""

    existing: Existing
    meta: Meta
    entries: Mapping[str, bytes] = field(repr=False)


def resource_version(instant: int) -> int:
    """The smallest resourceVersion of a change at this instant, in nanoseconds since 1970."""
    return instant << 32


def instant_of(version: str) -> int:
    return int(version) >> 32


def read(directory: Path, ref: Ref) -> Version | None:
    """The object as a mount shows it now, edits by hand included; None where there is none."""
    for _ in range(5):
        current = _current(directory)
        try:
            entries = _entries(directory)
            meta_bytes = read_regular(directory / current / META, MAX_ENTRY)[0] if current else b""
        except FileNotFoundError:
            meta_bytes, entries = b"", {} if _is_object(directory) else None
        except NotADirectoryError:
            return None
        if entries is None:
            return None
        if _current(directory) == current:
            changed = max((change_time for _, (_, change_time, *_) in object_signature(directory)), default=0)
            return _version(ref, changed, Meta.decode(meta_bytes), meta_bytes, entries)
    return None


def object_signature(directory: Path) -> tuple[tuple[str, Signature], ...]:
    """A value that changes with the object, without reading content; empty where there is no object."""
    signatures: list[tuple[str, Signature]] = []
    current = _current(directory)
    for folder in (directory, directory / current) if current else (directory,):
        try:
            with os.scandir(folder) as items:
                signatures += [(i.name, signature(i.stat(follow_symlinks=False))) for i in items]
        except FileNotFoundError:
            if folder == directory:
                return ()
    return tuple(sorted(signatures))


def install(directory: Path, meta: Meta, entries: Mapping[str, bytes], now: datetime, spare: Path) -> None:
    """Replace the object with this version. `spare` is an unused name on the same file system."""
    for entry in entries:
        checked_entry(entry)
    version = f"..{now.astimezone(UTC):%Y_%m_%d_%H_%M_%S}.{spare.name[:12]}"
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise Rejected("StateBlocked", f"{directory} is in the way and not a directory: remove it")
    if directory.is_dir():
        _fill(spare, meta, entries)
        spare.rename(directory / version)
        _link(directory, entries)
        sync_directory(directory)
        _put_link(version, directory / DATA)
        sync_directory(directory)
        _sweep(directory, version)
    else:
        _whole(spare, version, meta, entries)
        make_directory(directory.parent)
        spare.rename(directory)
        sync_directory(directory.parent)


def remove(directory: Path, spare: Path) -> None:
    """Delete in one step; leftovers are removed at once, or at the next start."""
    directory.rename(spare)
    sync_directory(directory.parent)
    remove_tree(spare)


def repair(directory: Path) -> None:
    """Remove versions that a crash left behind. Edits by hand stay, so that they are noticed."""
    current = _current(directory)
    if current and _is_object(directory):
        _sweep(directory, current)


def _texts(value: Any) -> list[Any]:
    return [*value.keys(), *value.values()]


def _version(ref: Ref, changed: int, meta: Meta, raw: bytes, entries: dict[str, bytes]) -> Version:
    """The resourceVersion is a number that grows, as Kubernetes' does, with edits by hand too; it ends in a hash, for
    a file system's clock may be slower than an edit.
    """
    digests = {name: digest(entries[name]) for name in sorted(entries)}
    seen = hashlib.sha256(json.dumps([digest(raw), digests]).encode()).digest()
    existing = Existing(
        ref=ref,
        uid=meta.uid,
        resource_version=str(resource_version(max(meta.version, changed)) + int.from_bytes(seen[:4], "big")),
        type=meta.type or ("Opaque" if ref.kind == "Secret" else ""),
        labels=meta.labels,
        annotations=meta.annotations,
        owner_uids=tuple(owner.get("uid", "") for owner in meta.owners),
        entries=digests,
        creation_time=_instant(meta.created),
    )
    return Version(existing, meta, entries)


def _instant(text: str) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return None
    return instant if instant.tzinfo else None


def _is_object(directory: Path) -> bool:
    return directory.is_dir() and not directory.is_symlink()


def _current(directory: Path) -> str:
    """The name of the version in force; empty where there is none, or the link has another target."""
    try:
        target = str((directory / DATA).readlink())
    except OSError:
        return ""
    return target if target.startswith("..") and "/" not in target and target not in ("..", DATA) else ""


def _entries(directory: Path) -> dict[str, bytes] | None:
    """Entries by name; None where there is no object. Links that do not lead to the version are not entries."""
    if not _is_object(directory):
        return None
    entries = {}
    for path in directory.iterdir():
        name = path.name
        if name.startswith("..") or (path.is_symlink() and not _links_to_version(path)):
            continue
        try:
            if stat.S_ISREG(path.stat().st_mode):
                entries[name] = read_regular(path, MAX_ENTRY)[0]
        except FileNotFoundError:
            continue
    return entries


def _whole(folder: Path, version: str, meta: Meta, entries: Mapping[str, bytes]) -> None:
    folder.mkdir(PRIVATE_DIRECTORY)
    _fill(folder / version, meta, entries)
    (folder / DATA).symlink_to(version)
    for entry in entries:
        (folder / entry).symlink_to(f"{DATA}/{entry}")
    sync_directory(folder)


def _fill(folder: Path, meta: Meta, entries: Mapping[str, bytes]) -> None:
    folder.mkdir(PRIVATE_DIRECTORY)
    write_new(folder / META, meta.encode())
    for entry, value in entries.items():
        write_new(folder / entry, value)
    sync_directory(folder)


def _link(directory: Path, entries: Iterable[str]) -> None:
    """Before the switch: link the new entries, and remove other files and directories."""
    names = set(entries)
    for path in list(directory.iterdir()):
        if path.name.startswith("..") or path.is_symlink():
            continue
        if path.is_dir() or path.name not in names:
            remove_tree(path)
    for name in sorted(names):
        path = directory / name
        if not _links_to_version(path):
            _put_link(f"{DATA}/{name}", path)


def _links_to_version(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()) == f"{DATA}/{path.name}"


def _put_link(target: str, path: Path) -> None:
    step = path.parent / _STEP
    step.unlink(missing_ok=True)
    step.symlink_to(target)
    step.replace(path)


def _sweep(directory: Path, version: str) -> None:
    """After the switch: remove the previous version, and links to entries that no longer exist."""
    entries = {path.name for path in (directory / version).iterdir()} if (directory / version).is_dir() else set()
    for path in list(directory.iterdir()):
        managed = path.name.startswith("..") or path.is_symlink()
        if managed and path.name not in (DATA, version, *entries):
            remove_tree(path)
