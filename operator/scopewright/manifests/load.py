"""Read what a directory of manifests declares. A broken manifest does not affect the others.

`load(dir)` is for `scopewright plan`; `ManifestFollower`, for `scopewright dev`, remembers the last valid manifests.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from scopewright.core.objects import Ref
from scopewright.manifests.files import Signature
from scopewright.manifests.nodes import ManifestError, ParseBudget
from scopewright.manifests.validate import Content, DataSource, Diagnostic, Manifests, SourceLocation, manifest_ref
from scopewright.manifests.walk import Walk, decoded, examine, unopened, unusable, walk

_FRESH: Final = 100_000_000
"""Nanoseconds; longer than the resolution of a file system's clock."""


def load(directory: Path, without: Path | None = None) -> Manifests:
    """Return everything declared under the directory, hidden files included; files not read are reported.

    `without` is a subdirectory to ignore.
    """
    return DirectoryReader(directory, walk=partial(walk, whole=True, without=without)).read()


def load_text(data: bytes, name: str) -> Manifests:
    """Return what a text such as standard input declares; problems call its file `name`."""
    return _merged(Path(), Walk({}, {}), {name: decoded(data, ParseBudget())})


@dataclass(slots=True)
class _Known:
    """The last content of a file, and a new signature that is not yet stable."""

    signature: Signature
    content: Content
    fresh: bool
    """Read so soon after a write that another could have left the same signature: it is read again."""
    pending: Signature | None = None


@dataclass(slots=True)
class DirectoryReader:
    """Reads one directory repeatedly; only files that changed are read again."""

    directory: Path
    fallbacks: tuple[dict[str, Any], ...] = ()
    """Manifests used where the directory declares none of their kind."""
    additions: tuple[dict[str, Any], ...] = ()
    """Manifests used where the directory declares no such object."""
    additions_with: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """The same, by a kind: used where the directory declares an object of that kind too."""
    walk: Callable[[Path], Walk] = walk
    stable: bool = True
    """Whether every file was stable at the last read."""
    _known: dict[str, _Known] = field(default_factory=dict)
    _last: tuple[dict[str, Content], set[str], Manifests] | None = None

    def read(self) -> Manifests:
        """Return what is declared: the last result itself if unchanged. A file being written keeps its last content."""
        walked = self.walk(self.directory)
        budget = ParseBudget()
        self.stable = True
        contents = {
            file: unusable(status) if isinstance(status, ManifestError) else self._content(file, status, budget)
            for file, status in walked.files.items()
        }
        self._known = {file: self._known[file] for file in contents if file in self._known}
        if self._last and self._last[:2] == (contents, set(walked.folders)):
            return self._last[2]
        manifests = self._completed(_merged(self.directory, walked, contents))
        self._last = (contents, set(walked.folders), manifests)
        return manifests

    def _completed(self, manifests: Manifests) -> Manifests:
        declared = {*manifests.objects, *manifests.broken}
        kinds = {ref.kind for ref in declared}
        missing = {manifest_ref(m): m for m in self.fallbacks if m["kind"] not in kinds}
        added = (*self.additions, *(m for kind, m in self.additions_with.items() if kind in kinds))
        missing |= {ref: m for m in added if (ref := manifest_ref(m)) not in declared}
        sources = dict.fromkeys(missing, SourceLocation("", 1))
        return replace(manifests, objects={**manifests.objects, **missing}, sources={**manifests.sources, **sources})

    def _content(self, file: str, status: Signature, budget: ParseBudget) -> Content:
        known = self._known.get(file)
        if known and known.signature == status and not known.fresh:
            known.pending = None
            return known.content
        if known and known.signature != status and known.pending != status:
            known.pending = status
            self.stable = False
            return known.content
        return self._read(file, known, budget)

    def _read(self, file: str, known: _Known | None, budget: ParseBudget) -> Content:
        try:
            content, status = examine(self.directory, file, budget)
        except OSError as error:
            return unusable(unopened(error))
        if status is not None:
            self._known[file] = _Known(status, content, abs(time.time_ns() - status[0]) < _FRESH)
            return content
        self.stable = False
        return known.content if known else replace(content, incomplete=True)


def _merged(directory: Path, walked: Walk, contents: dict[str, Content]) -> Manifests:
    objects: dict[Ref, dict[str, Any]] = {}
    sources: dict[Ref, SourceLocation] = {}
    broken: set[Ref] = set()
    problems = [_problem(directory, folder, problem, unread=True) for folder, problem in walked.folders.items()]
    for file, content in contents.items():
        problems += [_problem(directory, file, problem) for problem in content.problems]
        problems += [_problem(directory, file, problem, unread=True) for problem in content.unread]
        for one in content.declared:
            source = SourceLocation(file, one.document.line, one.document)
            if one.ref in sources:
                problems.append(_duplicate(directory, one.ref, source, sources[one.ref]))
                continue
            sources[one.ref] = source
            if one.manifest is None:
                broken.add(one.ref)
            else:
                objects[one.ref] = one.manifest
    incomplete = {file for file, content in contents.items() if content.incomplete} | set(walked.folders)
    return Manifests(
        objects, tuple(sorted(problems)), sources, frozenset(broken), frozenset(incomplete), walked.readable,
        walked.templates, _data(directory, contents),
    )  # fmt: skip


def _data(directory: Path, contents: dict[str, Content]) -> dict[Ref, DataSource]:
    """The Secrets and ConfigMaps. The first declaration of an object is used."""
    data: dict[Ref, DataSource] = {}
    for file, content in contents.items():
        for one in content.data:
            if first := data.get(one.ref):
                at, before = SourceLocation(file, one.line), SourceLocation(first.file, first.manifest.line)
                duplicate = _duplicate(directory, one.ref, at, before)
                data[one.ref] = replace(first, problems=(*first.problems, duplicate))
            else:
                problems = (_problem(directory, file, one.problem),) if one.problem else ()
                data[one.ref] = DataSource(file, one, problems)
    return data


def _problem(directory: Path, file: str, problem: ManifestError, *, unread: bool = False) -> Diagnostic:
    return Diagnostic(printable(directory / file), problem.line, problem.message, problem.fix, unread)


def _duplicate(directory: Path, ref: Ref, second: SourceLocation, first: SourceLocation) -> Diagnostic:
    where = f"{printable(directory / first.file)}:{first.line}"
    fix = "remove one of them, or rename it"
    message = f"{ref} is already declared at {where}, which is used"
    return Diagnostic(printable(directory / second.file), second.line, message, fix)


def printable(path: Path) -> str:
    """Return the path as problems show it: bytes that are not UTF-8 are escaped."""
    return str(path).encode("utf-8", "backslashreplace").decode()
