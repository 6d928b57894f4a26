"""The manifest files under a directory: which there are, and what a file that cannot be read tells."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopewright.stores.directory_declared import Content, content
from scopewright.stores.directory_files import Signature, read_regular, signature
from scopewright.stores.directory_state import MARKER
from scopewright.stores.directory_yaml import Unreadable

ENDINGS: Final = (".yaml", ".yml", ".json")
MAX_FILE: Final = 4 << 20
MAX_FILES: Final = 20_000
MAX_LEVELS: Final = 50


@dataclass(frozen=True, slots=True)
class Walk:
    """Files by relative path, in sorted order, with what a stat tells of each (or why it cannot), and bad folders."""

    files: dict[str, Signature | Unreadable]
    folders: dict[str, Unreadable]
    readable: bool = True


def walk(root: Path) -> Walk:
    """Every manifest file. Hidden names and STATE directories are left out; links lead to files inside `root` only."""
    found = Walk({}, {})
    try:
        inside = os.path.realpath(root, strict=True)
        with os.scandir(root):
            pass
    except OSError as error:
        return Walk({}, {"": Unreadable(1, f"the directory cannot be read ({_why(error)})", _cure(error))}, False)
    _visit(root, "", inside, found)
    return Walk(dict(sorted(found.files.items())), found.folders)


def examine(root: Path, file: str) -> tuple[Content, Signature | None]:
    """What a file declares. No signature: it changed while it was read, or is gone; this is not to be trusted."""
    try:
        data, seen, still = read_regular(root / file, MAX_FILE + 1)
    except FileNotFoundError:
        return Content(obscured=True), None
    return decoded(data), seen if still else None


def unusable(problem: Unreadable) -> Content:
    return Content(problems=(problem,), obscured=True)


def unopened(error: Exception) -> Unreadable:
    return Unreadable(1, f"cannot be read ({_why(error)})", _cure(error))


def _visit(root: Path, folder: str, inside: str, found: Walk) -> None:
    try:
        with os.scandir(root / folder) as listing:
            items = sorted(listing, key=lambda item: item.name)
    except FileNotFoundError:
        return
    except OSError as error:
        found.folders[folder] = Unreadable(1, f"the directory cannot be read ({_why(error)})", _cure(error))
        return
    if any(item.name == MARKER for item in items):
        return
    if folder.count("/") > MAX_LEVELS:
        found.folders[folder] = Unreadable(1, f"more than {MAX_LEVELS} levels of directories", "move it further up")
        return
    for item in items:
        if item.name.startswith("."):
            continue
        if len(found.files) >= MAX_FILES:
            found.folders[""] = Unreadable(
                1, f"more than {MAX_FILES} files: the rest is not read", "name a smaller directory"
            )
            return
        if _is_folder(item):
            _visit(root, f"{folder}{item.name}/", inside, found)
        elif item.name.lower().endswith(ENDINGS):
            found.files[folder + item.name] = _looked_at(item, inside)


def _is_folder(item: "os.DirEntry[str]") -> bool:
    try:
        return item.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _looked_at(item: "os.DirEntry[str]", inside: str) -> Signature | Unreadable:
    try:
        if item.is_symlink() and not _is_inside(item.path, inside):
            return Unreadable(1, "a link that leads out of the directory is not followed", "copy the file here")
        status = item.stat()
    except (OSError, ValueError) as error:
        return unopened(error)
    if stat.S_ISDIR(status.st_mode):
        return Unreadable(
            1, "a link to a directory is not followed", "remove it: what is in this directory is read anyway"
        )
    if not stat.S_ISREG(status.st_mode):
        return Unreadable(1, "not a regular file", "remove it, or give it another ending")
    return signature(status)


def _is_inside(path: str, inside: str) -> bool:
    target = os.path.realpath(path, strict=True)
    return os.path.commonpath([target, inside]) == inside


def decoded(data: bytes) -> Content:
    """What text in UTF-8 declares."""
    if len(data) > MAX_FILE:
        return unusable(
            Unreadable(1, f"larger than {MAX_FILE >> 20} MiB", "split it, or move what is no manifest elsewhere")
        )
    if b"\0" in data:
        return unusable(
            Unreadable(1, "a binary file, or not UTF-8 text", "save it as UTF-8, or give it another ending")
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return unusable(Unreadable(line, "not UTF-8 text", "save it as UTF-8, or give it another ending"))
    return content(text)


def _why(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _cure(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return "make it readable for this user (chmod u+r)"
    if isinstance(error, FileNotFoundError):
        return "a link to nothing, or a path that is not there: correct it or remove it"
    return "make it a readable file or directory, or move it elsewhere"
