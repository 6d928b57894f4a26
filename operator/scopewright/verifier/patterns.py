"""Path patterns, which decide what a request needs. Pure functions.

A pattern has literal segments, `*` for one segment, and `**` as the last segment for any number of them. Of the
patterns that match, the most specific one decides: from the left, a literal before `*` before `**`. A path that is not
canonical matches no pattern.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from scopewright.verifier.canonical_path import DOT_SEGMENTS, has_ambiguous_escape, is_canonical, split_path

_LITERAL: Final = re.compile(r"[!$&'()+,\-.0-9:=@A-Z_a-z~]+")

T = TypeVar("T")


class PathAuthentication(StrEnum):
    """Whether a request needs a token."""

    REQUIRED = "Required"
    OPTIONAL = "Optional"
    """A request without a token is passed on. A token that is sent must be valid."""
    NONE = "None"
    """A token is ignored."""


@dataclass(frozen=True, slots=True)
class PathPattern:
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "PathPattern":
        """Raises ValueError for a text that is not a pattern. A slash at the end has no meaning."""
        if not isinstance(text, str) or not text.startswith("/"):
            raise ValueError(f"a path pattern begins with a slash, such as /healthz or /assets/**: {text!r}")
        segments = split_path(text)
        *inner, last = segments or ("",)
        if not all(_is_literal(segment) or segment == "*" for segment in inner):
            raise ValueError(f"{text!r} is not a path pattern: {_RULE}")
        if segments and not (_is_literal(last) or last in ("*", "**")):
            raise ValueError(f"{text!r} is not a path pattern: {_RULE}")
        return cls(segments)

    def covers(self, other: "PathPattern") -> bool:
        """Whether every path that matches `other` matches this pattern too."""
        for index, segment in enumerate(self.segments):
            if segment == "**":
                return True
            if index >= len(other.segments) or other.segments[index] == "**":
                return False
            if segment not in ("*", other.segments[index]):
                return False
        return len(self.segments) == len(other.segments)

    def __str__(self) -> str:
        return f"/{'/'.join(self.segments)}"


_RULE: Final = "a segment is literal ASCII text, * (one segment) or, at the end, ** (any number of segments)"


class _Node(Generic[T]):
    """The patterns that begin with the same segments. `rest` is the one that continues with `**`."""

    __slots__ = ("literals", "rest", "value", "wildcard")

    def __init__(self) -> None:
        self.value: T | None = None
        self.literals: dict[str, _Node[T]] = {}
        self.wildcard: _Node[T] | None = None
        self.rest: _Node[T] | None = None

    def child(self, segment: str) -> "_Node[T]":
        if segment == "**":
            self.rest = self.rest or _Node()
            return self.rest
        if segment == "*":
            self.wildcard = self.wildcard or _Node()
            return self.wildcard
        return self.literals.setdefault(segment, _Node())


class PatternTree(Generic[T]):
    """Values by their patterns, none of which is None."""

    def __init__(self, values: Mapping[PathPattern, T]) -> None:
        self._root: _Node[T] = _Node()
        for pattern, value in values.items():
            node = self._root
            for segment in pattern.segments:
                node = node.child(segment)
            node.value = value

    def find(self, segments: Sequence[str]) -> T | None:
        """The value of the most specific pattern that matches the segments of a canonical path.

        Each node is visited at most once, so the time is bounded by the patterns, whatever the path is.
        """
        count = len(segments)
        pending = [(self._root, 0)]
        while pending:
            node, depth = pending.pop()
            if depth == count:
                if node.value is not None:
                    return node.value
                if node.rest is not None:
                    return node.rest.value
                continue
            # The last one that is added is tried first.
            if node.rest is not None:
                pending.append((node.rest, count))
            if node.wildcard is not None:
                pending.append((node.wildcard, depth + 1))
            literal = node.literals.get(segments[depth])
            if literal is not None:
                pending.append((literal, depth + 1))
        return None


def literal_segments(path: str) -> tuple[str, ...]:
    """The segments of a path that stands for itself, such as a base path. Raises ValueError for one with a wildcard."""
    segments = PathPattern.parse(path).segments
    if not {"*", "**"}.isdisjoint(segments):
        raise ValueError(f"{path!r} has a wildcard: write /payroll, which covers every path below it")
    return segments


class AuthenticationByPath:
    """`public=` and `optional=` of an application. Paths that match neither need a token."""

    def __init__(self, public: Iterable[str] = (), optional: Iterable[str] = ()) -> None:
        found = dict.fromkeys(_patterns("public=", public), PathAuthentication.NONE)
        for pattern in _patterns("optional=", optional):
            if pattern in found:
                raise ValueError(f"public= and optional= have the same pattern {pattern}")
            found[pattern] = PathAuthentication.OPTIONAL
        self._tree = PatternTree(found) if found else None
        self.is_empty = not found

    def of(self, path: str | None, raw_path: str | None = None) -> PathAuthentication:
        """`path` is decoded, and begins below the application's root; None matches no pattern. `raw_path` is the path
        as it was sent.
        """
        if self._tree is None or path is None or not is_canonical(path):
            return PathAuthentication.REQUIRED
        if raw_path and has_ambiguous_escape(raw_path):
            return PathAuthentication.REQUIRED
        return self._tree.find(split_path(path)) or PathAuthentication.REQUIRED


def _is_literal(segment: str) -> bool:
    return _LITERAL.fullmatch(segment) is not None and segment not in DOT_SEGMENTS


def _patterns(argument: str, texts: Iterable[str]) -> list[PathPattern]:
    try:
        return [PathPattern.parse(text) for text in ((texts,) if isinstance(texts, str) else texts)]
    except ValueError as error:
        raise ValueError(f"{argument} {error}") from None
