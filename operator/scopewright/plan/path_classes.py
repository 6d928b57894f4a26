"""Classes of paths: all paths of a class match the same patterns. Pure.

Two sets of rules decide alike about all paths if they decide alike about one path of each class.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from scopewright.verifier.patterns import PathPattern

MAX_CLASSES: Final = 4096
"""Nested wildcards can have exponentially many classes."""

_REST: Final = ("**",)


@dataclass(frozen=True, slots=True)
class ComparedPattern:
    """A pattern with its base path. Without `case_sensitive`, its literals are in lower case."""

    segments: tuple[str, ...]
    case_sensitive: bool = True

    @property
    def has_literal(self) -> bool:
        return not {"*", "**"}.issuperset(self.segments)

    def after(self, segment: str) -> "ComparedPattern | None":
        """What the rest of a path has to match, if its first segment is `segment`."""
        if not self.segments:
            return None
        head = self.segments[0]
        if head == "**":
            return self
        compared = segment if self.case_sensitive else segment.lower()
        return ComparedPattern(self.segments[1:], self.case_sensitive) if head in ("*", compared) else None


@dataclass(frozen=True, slots=True)
class PathClass:
    """`shown` is the class as a pattern, in which `*` is every segment that no pattern names there. `path` is in it."""

    shown: PathPattern
    path: tuple[str, ...]


def path_classes(patterns: Iterable[ComparedPattern]) -> list[PathClass] | None:
    """The classes of all paths that match some pattern; None if there are more than `MAX_CLASSES`.

    Where only some patterns ignore case, each literal in upper case has a class of its own.
    """
    first = frozenset(patterns)
    other = _unused({segment for pattern in first for segment in pattern.segments})
    found: list[PathClass] = []
    pending: list[tuple[frozenset[ComparedPattern], tuple[str, ...]]] = [(first, ())]
    while pending:
        live, shown = pending.pop()
        if len(found) >= MAX_CLASSES:
            return None
        if not live:
            continue
        path = tuple(other if segment == "*" else segment for segment in shown)
        if all(pattern.segments == _REST for pattern in live):
            found.append(PathClass(PathPattern((*shown, "**")), path))
            continue
        if any(pattern.segments in ((), _REST) for pattern in live):
            found.append(PathClass(PathPattern(shown), path))
        heads = {pattern.segments[0] for pattern in live if pattern.segments}
        if any(not p.case_sensitive for p in live) and any(p.case_sensitive and p.has_literal for p in live):
            heads |= {head.upper() for head in heads}
        pending.extend((_after(live, head), (*shown, head)) for head in sorted(heads - {"*", "**"}, reverse=True))
        if heads & {"*", "**"}:
            pending.append((_after(live, other), (*shown, "*")))
    return found


def _after(live: frozenset[ComparedPattern], segment: str) -> frozenset[ComparedPattern]:
    return frozenset(left for pattern in live if (left := pattern.after(segment)) is not None)


def _unused(segments: set[str]) -> str:
    """A segment that no pattern names."""
    known = {segment.lower() for segment in segments}
    return next(text for n in range(len(known) + 1) if (text := f"other{n}") not in known)
