"""Path patterns, which decide whether a request needs a token. Pure functions.

A pattern has literal segments, `*` for one segment, and `**` as the last segment for any number of them. Of the
patterns that match, the most specific one decides: from the left, a literal before `*` before `**`. A path that is not
canonical matches no pattern.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_PATH_CHARACTERS: Final = 4096

_LITERAL: Final = re.compile(r"[!$&'()+,\-.0-9:=@A-Z_a-z~]+")
# Characters that services read in different ways, and U+FFFD and surrogates, which stand for invalid UTF-8.
_AMBIGUOUS: Final = re.compile(r"[\x00-\x1f\x7f#%;?\\\ufffd\ud800-\udfff]")
_AMBIGUOUS_ESCAPE: Final = re.compile(r"%(?:[01][0-9a-f]|7f|23|25|2f|3b|3f|5c)", re.IGNORECASE)
_DOTS: Final = frozenset({".", ".."})


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
        segments = _split(text)
        *inner, last = segments or ("",)
        if not all(_is_literal(segment) or segment == "*" for segment in inner):
            raise ValueError(f"{text!r} is not a path pattern: {_RULE}")
        if segments and not (_is_literal(last) or last in ("*", "**")):
            raise ValueError(f"{text!r} is not a path pattern: {_RULE}")
        return cls(segments)

    @property
    def rank(self) -> tuple[int, ...]:
        """The most specific pattern has the lowest rank."""
        return tuple({"*": 1, "**": 2}.get(segment, 0) for segment in self.segments)

    @property
    def regex(self) -> str:
        """Matches the canonical paths of this pattern, with and without a slash at the end."""
        expressions = {"*": "/[^/]+", "**": "(?:/.*)?"}
        return "".join(expressions.get(s, f"/{re.escape(s)}") for s in self.segments) + "/?"


_RULE: Final = "a segment is literal ASCII text, * (one segment) or, at the end, ** (any number of segments)"


class AuthenticationByPath:
    """`public=` and `optional=` of an application. Paths that match neither need a token."""

    def __init__(self, public: Iterable[str] = (), optional: Iterable[str] = ()) -> None:
        found = dict.fromkeys(_patterns("public=", public), PathAuthentication.NONE)
        for pattern in _patterns("optional=", optional):
            if pattern in found:
                raise ValueError(f"public= and optional= have the same pattern /{'/'.join(pattern.segments)}")
            found[pattern] = PathAuthentication.OPTIONAL
        by_rank = sorted(found, key=lambda pattern: pattern.rank)
        self._authentications = [found[pattern] for pattern in by_rank]
        self._regex = re.compile("|".join(f"({pattern.regex})" for pattern in by_rank), re.DOTALL)

    def of(self, path: str | None, raw_path: str | None = None) -> PathAuthentication:
        """`path` is decoded, and begins below the application's root; None matches no pattern. `raw_path` is the path
        as it was sent.
        """
        if path is None or not self._authentications or len(path) > MAX_PATH_CHARACTERS:
            return PathAuthentication.REQUIRED
        match = self._regex.fullmatch(path)
        if match is None or not is_canonical(path) or (raw_path and _AMBIGUOUS_ESCAPE.search(raw_path)):
            return PathAuthentication.REQUIRED
        return self._authentications[(match.lastindex or 1) - 1]


def is_canonical(path: str) -> bool:
    """Whether all services read a decoded path in the same way."""
    if len(path) > MAX_PATH_CHARACTERS or _AMBIGUOUS.search(path) or (path and not path.startswith("/")):
        return False
    return all(segment and segment not in _DOTS for segment in _split(path))


def _split(path: str) -> tuple[str, ...]:
    """The segments of a path that begins with a slash. One slash at the end is ignored."""
    return tuple(path[1:].removesuffix("/").split("/")) if len(path) > 1 else ()


def _is_literal(segment: str) -> bool:
    return _LITERAL.fullmatch(segment) is not None and segment not in _DOTS


def _patterns(argument: str, texts: Iterable[str]) -> list[PathPattern]:
    try:
        return [PathPattern.parse(text) for text in ((texts,) if isinstance(texts, str) else texts)]
    except ValueError as error:
        raise ValueError(f"{argument} {error}") from None
