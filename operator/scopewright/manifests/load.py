"""What a directory of manifests declares: read once, or followed. A broken manifest never stops the rest.

`load(dir)` is for `scopewright plan`; `ManifestFollower` is for `scopewright dev`, which remembers what was good.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from scopewright.core.objects import Ref
from scopewright.manifests.files import Signature
from scopewright.manifests.nodes import ManifestError, ParseBudget
from scopewright.manifests.validate import Content, Diagnostic, Manifests, SourceLocation, ref_of
from scopewright.manifests.walk import Walk, decoded, examine, unopened, unusable, walk

__all__ = ["Diagnostic", "DirectoryReader", "Manifests", "SourceLocation", "load", "load_text", "printable"]

_FRESH: Final = 100_000_000
"""Nanoseconds; more than any file system's clock needs to tick."""


def load(directory: Path, without: Path | None = None) -> Manifests:
    """Everything that is declared under the directory this moment, hidden files too; what is not read is told.

    `without` is left out, where it is a folder of it.
    """
    return DirectoryReader(directory, walk=partial(walk, whole=True, without=without)).take()


def load_text(data: bytes, name: str) -> Manifests:
    """The same of what is no file, such as standard input, under the name that problems are to give it."""
    return _merged(Path(), Walk({}, {}), {name: decoded(data, ParseBudget())})


@dataclass(slots=True)
class _Known:
    """A file as it was last believed, and the signature that is waited on to stand still."""

    signature: Signature
    content: Content
    fresh: bool
    """Read so soon after a write that another could have left the same signature: it is read again."""
    pending: Signature | None = None


@dataclass(slots=True)
class DirectoryReader:
    """One directory, and what is known of its files, so that only those that changed are read again."""

    directory: Path
    fallbacks: tuple[dict[str, Any], ...] = ()
    walk: Callable[[Path], Walk] = walk
    settled: bool = True
    """Whether everything stood still at the last look."""
    _known: dict[str, _Known] = field(default_factory=dict)
    _last: tuple[dict[str, Content], set[str], Manifests] | None = None

    def take(self) -> Manifests:
        """What is declared; the same object as last time, if it is the same. What is being written counts as before."""
        found = self.walk(self.directory)
        budget = ParseBudget()
        self.settled = True
        contents = {
            file: unusable(status) if isinstance(status, ManifestError) else self._content(file, status, budget)
            for file, status in found.files.items()
        }
        self._known = {file: self._known[file] for file in contents if file in self._known}
        if self._last and self._last[:2] == (contents, set(found.folders)):
            return self._last[2]
        manifests = _with_fallbacks(_merged(self.directory, found, contents), self.fallbacks)
        self._last = (contents, set(found.folders), manifests)
        return manifests

    def _content(self, file: str, status: Signature, budget: ParseBudget) -> Content:
        known = self._known.get(file)
        if known and known.signature == status and not known.fresh:
            known.pending = None
            return known.content
        if known and known.signature != status and known.pending != status:
            known.pending = status
            self.settled = False
            return known.content
        return self._read(file, known, budget)

    def _read(self, file: str, known: _Known | None, budget: ParseBudget) -> Content:
        try:
            content, seen = examine(self.directory, file, budget)
        except OSError as error:
            return unusable(unopened(error))
        if seen is not None:
            self._known[file] = _Known(seen, content, abs(time.time_ns() - seen[0]) < _FRESH)
            return content
        self.settled = False
        return known.content if known else _obscured(content)


def _obscured(content: Content) -> Content:
    """Read while it was written: what is there counts, what is missing says nothing."""
    return replace(content, obscured=True)


def _merged(directory: Path, found: Walk, contents: dict[str, Content]) -> Manifests:
    objects: dict[Ref, dict[str, Any]] = {}
    sources: dict[Ref, SourceLocation] = {}
    broken: set[Ref] = set()
    problems = [_problem(directory, folder, problem, unread=True) for folder, problem in found.folders.items()]
    for file, content in contents.items():
        problems += [_problem(directory, file, problem) for problem in content.problems]
        problems += [_problem(directory, file, problem, unread=True) for problem in content.unread]
        for one in content.found:
            source = SourceLocation(file, one.document.line, one.document)
            if one.ref in sources:
                problems.append(_duplicate(directory, one.ref, source, sources[one.ref]))
                continue
            sources[one.ref] = source
            if one.manifest is None:
                broken.add(one.ref)
            else:
                objects[one.ref] = one.manifest
    obscured = {file for file, content in contents.items() if content.obscured} | set(found.folders)
    return Manifests(
        objects, tuple(sorted(problems)), sources, frozenset(broken), frozenset(obscured), found.readable,
        found.templates,
    )  # fmt: skip


def _with_fallbacks(manifests: Manifests, fallbacks: tuple[dict[str, Any], ...]) -> Manifests:
    kinds = {ref.kind for ref in (*manifests.objects, *manifests.broken)}
    missing = {ref_of(m): m for m in fallbacks if m["kind"] not in kinds}
    sources = dict.fromkeys(missing, SourceLocation("", 1))
    return replace(manifests, objects={**manifests.objects, **missing}, sources={**manifests.sources, **sources})


def _problem(directory: Path, file: str, problem: ManifestError, *, unread: bool = False) -> Diagnostic:
    return Diagnostic(printable(directory / file), problem.line, problem.message, problem.fix, unread)


def _duplicate(directory: Path, ref: Ref, second: SourceLocation, first: SourceLocation) -> Diagnostic:
    where = f"{printable(directory / first.file)}:{first.line}"
    fix = "remove one of them, or rename it"
    message = f"{ref} is declared already at {where}, which counts"
    return Diagnostic(printable(directory / second.file), second.line, message, fix)


def printable(path: Path) -> str:
    """As problems name it, whatever bytes are in it."""
    return str(path).encode("utf-8", "backslashreplace").decode()
