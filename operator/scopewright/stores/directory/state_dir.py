"""The STATE directory: its issuer, its writer, and the directories of objects in it."""

import fcntl
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.manifests.walk import MARKER
from scopewright.stores.directory.atomic_files import (
    PRIVATE_DIRECTORY,
    checked,
    make_directory,
    remove_tree,
    replace_file,
)

_LOCK: Final = ".lock"
_SPARE: Final = ".tmp"
_GITIGNORE: Final = ".gitignore"
_FOLDERS: Final = {"Secret": "secrets", "ConfigMap": "configmaps"}


class StateDirectory:
    """An open STATE directory. This process is its only writer, unless it was opened for reading."""

    def __init__(self, root: Path, issuer: str, lock: int | None) -> None:
        self.root = root
        self.issuer = issuer
        self._lock = lock

    @classmethod
    def open(cls, root: Path, issuer: str) -> "StateDirectory":
        """Open for writing; created where missing. `Rejected` where it is another issuer's, in use, or not writable."""
        with _rejecting_os_errors(root):
            _refuse_foreign(root)
            make_directory(root)
            lock = _locked(root)
            state = cls(root, issuer, lock)
            try:
                state._claim()
            except BaseException:
                state.close()
                raise
        return state

    @classmethod
    def open_readonly(cls, root: Path) -> "StateDirectory":
        """Open for an issuer beside the writer: no lock, no change."""
        with _rejecting_os_errors(root):
            issuer = _issuer(root)
        if issuer is None:
            fix = "start `scopewright dev DIR --state STATE` first, or name the STATE that it writes"
            raise Rejected("NoState", f"{root} is not a STATE directory: {fix}")
        return cls(root, issuer, None)

    @property
    def writable(self) -> bool:
        return self._lock is not None

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def folder(self, kind: str) -> Path:
        return self.root / _FOLDERS[kind]

    def directory_of(self, ref: Ref) -> Path:
        """The directory of a Secret or ConfigMap."""
        checked(ref)
        return self.folder(ref.kind) / ref.namespace / ref.name

    def objects(self, kind: str, namespace: str | None = None) -> Iterator[Ref]:
        """Secrets or ConfigMaps by their directories; names that Kubernetes does not accept are skipped."""
        for folder in _folders(self.folder(kind) if namespace is None else self.folder(kind) / namespace):
            directories = [folder] if namespace is not None else _folders(folder)
            for directory in directories:
                ref = Ref(kind, directory.parent.name, directory.name)
                with suppress(Rejected):
                    yield checked(ref)

    def spare(self) -> Path:
        """An unused name on the same file system; the next start removes leftovers."""
        return spare_file(self.root)

    def check(self) -> None:
        """`Unavailable` where the directory is no longer a STATE: then a missing file proves nothing."""
        if not (self.root / MARKER).is_file():
            raise Unavailable(f"the STATE directory {self.root} was deleted: restart to create a new one")

    def check_writable(self) -> None:
        self.check()
        if not self.writable:
            raise Rejected("ReadOnly", f"{self.root} is open for reading only: `scopewright dev` writes it")

    def _claim(self) -> None:
        issuer = _issuer(self.root)
        if issuer is not None and issuer != self.issuer:
            fix = "choose another --state, or remove this one (its keys and credentials go with it)"
            raise Rejected(
                "StateOfAnotherIssuer", f"{self.root} belongs to the issuer {issuer}, not {self.issuer}: {fix}"
            )
        remove_tree(self.root / _SPARE)
        if issuer is None:
            if not (self.root / _GITIGNORE).exists():  # `git add` in a repository of manifests must not add secrets
                replace_file(self.root / _GITIGNORE, b"*\n", self.spare())
            data = json.dumps({"issuer": self.issuer, "version": 1}).encode() + b"\n"
            replace_file(self.root / MARKER, data, self.spare())


def spare_file(root: Path) -> Path:
    """`StateDirectory.spare` for a writer that has the path of STATE alone."""
    with suppress(FileExistsError):
        (root / _SPARE).mkdir(PRIVATE_DIRECTORY)
    return root / _SPARE / uuid.uuid4().hex


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as items:
            return sorted(Path(item.path) for item in items if item.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _refuse_foreign(root: Path) -> None:
    """Refuse a directory that holds other files."""
    if root.exists() and not root.is_dir():
        raise Rejected("NotAState", f"{root} is not a directory: choose another --state")
    if not root.exists() or (root / MARKER).exists():
        return
    others = sorted(p.name for p in root.iterdir() if p.name not in (_LOCK, _SPARE, _GITIGNORE))
    if others:
        fix = "choose another --state, or an empty directory"
        raise Rejected("NotAState", f"{root} holds other files ({', '.join(others[:3])}) and no STATE: {fix}")


def _locked(root: Path) -> int:
    handle = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
    except BlockingIOError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        fix = "stop it, or choose another --state"
        raise Rejected("StateInUse", f"another `scopewright dev` (process {holder}) writes {root}: {fix}") from None
    except BaseException:
        os.close(handle)
        raise
    return handle


def _issuer(root: Path) -> str | None:
    try:
        text = (root / MARKER).read_text()
    except FileNotFoundError:
        return None
    try:
        issuer = json.loads(text)["issuer"]
    except (ValueError, KeyError, TypeError):
        issuer = None
    if not isinstance(issuer, str):
        raise Rejected("NotAState", f"{root / MARKER} is damaged: restore it, or remove {root}")
    return issuer


@contextmanager
def _rejecting_os_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = error.strerror or type(error).__name__
        fix = "make it writable, or choose another --state"
        raise Rejected("StateUnwritable", f"the STATE directory {root} cannot be used ({what}): {fix}") from error
