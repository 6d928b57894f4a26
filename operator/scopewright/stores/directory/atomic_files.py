"""Atomic files: written under another name, synced, renamed. Names that cannot leave their directory."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from scopewright.api.names import is_label
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref

PRIVATE_FILE: Final = 0o600
PRIVATE_DIRECTORY: Final = 0o700

_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_ENTRY: Final = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def checked(ref: Ref) -> Ref:
    """The reference, if Kubernetes accepts its names: no such name leaves its directory."""
    if not is_label(ref.namespace) or not _NAME.fullmatch(ref.name) or ".." in ref.name:
        raise Rejected(
            "InvalidName", f"{ref.namespace[:80]!r}/{ref.name[:80]!r} is not a name that Kubernetes accepts: rename it"
        )
    return ref


def checked_entry(entry: str) -> str:
    if not _ENTRY.fullmatch(entry) or entry in (".", "..") or entry.startswith(".."):
        raise Rejected(
            "InvalidName", f"{entry[:80]!r} cannot be the name of an entry: use letters, digits, '-', '_' and '.'"
        )
    return entry


def make_directory(path: Path) -> None:
    """With its parents, private to this user."""
    for missing in reversed([p for p in (path, *path.parents) if not p.exists()]):
        try:
            missing.mkdir(PRIVATE_DIRECTORY)
        except FileExistsError:
            continue
        with suppress(PermissionError):
            sync_directory(missing.parent)


def write_new(path: Path, data: bytes) -> None:
    """Create a file, synced; after a crash it may be incomplete."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_file(path: Path, data: bytes, spare: Path) -> None:
    """Replace the content in one step. `spare` is an unused name on the same file system."""
    write_new(spare, data)
    spare.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Remove a file, a link (not its target) or a directory."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
