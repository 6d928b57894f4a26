"""Find and read the manifest files under a directory, and report those that cannot be read."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopewright.manifests.files import Signature, read_regular, signature
from scopewright.manifests.nodes import ManifestError, ParseBudget
from scopewright.manifests.validate import Content, content

MARKER: Final = ".scopewright-state"
"""The file that makes a directory a STATE; manifests in it are ignored."""
ENDINGS: Final = (".yaml", ".yml", ".json")
MAX_FILE: Final = 4 << 20
MAX_FILES: Final = 20_000
MAX_LEVELS: Final = 50
TEMPLATES: Final = ("kustomization.yaml", "kustomization.yml", "kustomization", "chart.yaml")
"""Lower-case names of files from which other programs generate manifests."""
_TEMPLATE_ENDINGS: Final = (".jsonnet", ".libsonnet")
_MOVE: Final = f"remove {MARKER}, or keep STATE elsewhere"


@dataclass(frozen=True, slots=True)
class Walk:
    """Files by relative path, sorted, each with its signature or the error of its stat, and unreadable folders."""

    files: dict[str, Signature | ManifestError]
    folders: dict[str, ManifestError]
    readable: bool = True
    templates: tuple[str, ...] = ()


def walk(root: Path, *, whole: bool = False, without: Path | None = None) -> Walk:
    """Return every manifest file. Links are followed to files inside `root` only.

    Hidden names and STATE directories are ignored: editors and `scopewright dev` create them. With `whole`, for
    manifests that another program applies, hidden names are read and STATE directories are reported. The folders `.git`
    and `without` are never read.
    """
    try:
        inside = os.path.realpath(root, strict=True)
        with os.scandir(root):
            pass
    except OSError as error:
        return Walk({}, {"": ManifestError(1, f"the directory cannot be read ({_why(error)})", _cure(error))}, False)
    visit = _Visit(root, inside, whole, os.path.realpath(without) if without else None)
    visit.folder("")
    return visit.result()


def examine(root: Path, file: str, budget: ParseBudget) -> tuple[Content, Signature | None]:
    """Return what a file declares. Without a signature it changed or was deleted during the read: do not rely on it."""
    try:
        data, status, stable = read_regular(root / file, MAX_FILE + 1)
    except FileNotFoundError:
        return Content(incomplete=True), None
    return decoded(data, budget), status if stable else None


def unusable(problem: ManifestError) -> Content:
    return Content(unread=(problem,), incomplete=True)


def unopened(error: Exception) -> ManifestError:
    return ManifestError(1, f"cannot be read ({_why(error)})", _cure(error))


class _Visit:
    """One traversal of a directory."""

    def __init__(self, root: Path, inside: str, whole: bool, without: str | None) -> None:
        self._root = root
        self._inside = inside
        self._whole = whole
        self._without = without
        self._files: dict[str, Signature | ManifestError] = {}
        self._folders: dict[str, ManifestError] = {}
        self._templates: list[str] = []
        self._links: dict[str, str] = {}

    def result(self) -> Walk:
        """Return the files, without links to files that are read anyway."""
        alone = (file for file in self._files if self._links and file not in self._links)
        read = {os.path.realpath(self._root / file) for file in alone}
        files = {file: status for file, status in sorted(self._files.items()) if self._links.get(file) not in read}
        return Walk(files, self._folders, templates=tuple(sorted(self._templates)))

    def folder(self, folder: str) -> None:
        try:
            with os.scandir(self._root / folder) as listing:
                items = sorted(listing, key=lambda item: item.name)
        except FileNotFoundError:
            return
        except OSError as error:
            self._folders[folder] = ManifestError(1, f"the directory cannot be read ({_why(error)})", _cure(error))
            return
        if any(item.name == MARKER for item in items):
            if self._whole:
                self._folders[folder] = ManifestError(
                    1, f"{MARKER} makes it a STATE directory, which is not read", _MOVE
                )
            return
        if folder.count("/") > MAX_LEVELS:
            message = f"more than {MAX_LEVELS} levels of directories"
            self._folders[folder] = ManifestError(1, message, "move it further up")
            return
        for item in items:
            if len(self._files) >= MAX_FILES:
                message = f"more than {MAX_FILES} files: the rest is not read"
                self._folders[""] = ManifestError(1, message, "name a smaller directory")
                return
            self._item(folder, item)

    def _item(self, folder: str, item: "os.DirEntry[str]") -> None:
        name = item.name.lower()
        if item.name.startswith(".") and not self._whole:
            return
        if _is_folder(item):
            if item.name != ".git" and (not self._without or os.path.realpath(item.path) != self._without):
                self.folder(f"{folder}{item.name}/")
            return
        if name in TEMPLATES or name.endswith(_TEMPLATE_ENDINGS):
            self._templates.append(folder + item.name)
        if name.endswith(ENDINGS):
            self._files[folder + item.name] = _inspect(item, self._inside)
            if item.is_symlink():
                self._links[folder + item.name] = os.path.realpath(item.path)


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _inspect(item: "os.DirEntry[str]", inside: str) -> Signature | ManifestError:
    try:
        if item.is_symlink() and not _is_inside(item.path, inside):
            return ManifestError(1, "a link to a target outside the directory is not followed", "copy the file here")
        status = item.stat()
    except (OSError, ValueError) as error:
        return unopened(error)
    if stat.S_ISDIR(status.st_mode):
        return ManifestError(
            1, "a link to a directory is not followed", "remove it: every file in this directory is read anyway"
        )
    if not stat.S_ISREG(status.st_mode):
        return ManifestError(1, "not a regular file", "remove it, or give it another ending")
    return signature(status)


def _is_inside(path: str, inside: str) -> bool:
    target = os.path.realpath(path, strict=True)
    return os.path.commonpath([target, inside]) == inside


def decoded(data: bytes, budget: ParseBudget) -> Content:
    """Return what a text in UTF-8 declares."""
    if len(data) > MAX_FILE:
        return unusable(
            ManifestError(1, f"larger than {MAX_FILE >> 20} MiB", "split it, or move other files elsewhere")
        )
    if b"\0" in data:
        return unusable(
            ManifestError(1, "a binary file, or not UTF-8 text", "save it as UTF-8, or give it another ending")
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return unusable(ManifestError(line, "not UTF-8 text", "save it as UTF-8, or give it another ending"))
    return content(text, budget)


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _cure(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "make it readable for this user (chmod u+r)"
    if isinstance(error, FileNotFoundError):
        return "the path or the target of the link does not exist: correct it or remove it"
    return "make it a readable file or directory, or move it elsewhere"
