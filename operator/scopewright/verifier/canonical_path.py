"""Canonical request paths: those that all services read in the same way. Pure functions.

Nothing is normalised. A path that is not canonical is refused, because a proxy, a middleware and a service that
normalise it in different ways would decide about different paths.
"""

import re
from typing import Final

MAX_PATH_CHARACTERS: Final = 4096
DOT_SEGMENTS: Final = frozenset({".", ".."})

# Characters that services read in different ways, and U+FFFD and surrogates, which stand for invalid UTF-8.
_AMBIGUOUS: Final = re.compile(r"[\x00-\x1f\x7f#%;?\\\ufffd\ud800-\udfff]")
_AMBIGUOUS_ESCAPE: Final = re.compile(r"%(?:[01][0-9a-f]|7f|23|25|2f|3b|3f|5c)", re.IGNORECASE)
_AMBIGUOUS_BYTES: Final = frozenset({*range(0x20), 0x7F, *b"#%/;?\\"})
_RAW: Final = ((b"\\", "a backslash"), (b"#", "a fragment"), (b";", "a semicolon"))
_TARGET: Final = re.compile(rb"[!-~]*")
_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")


class PathRefused(ValueError):
    """The request path is not canonical. The text names no part of the path."""


def canonical_path(target: bytes) -> tuple[str, ...]:
    """The decoded segments of the path of a request target, up to its first `?` (RFC 9112 §3.2.1).

    Raises `PathRefused` for a path that some services read in another way. One slash at the end is ignored.
    """
    if _TARGET.fullmatch(target) is None:
        raise PathRefused("it has a byte that a URL must percent-encode")
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):
        raise PathRefused("it does not begin with a slash")
    for character, name in _RAW:
        if character in path:
            raise PathRefused(f"it has {name}")
    if len(path) > MAX_PATH_CHARACTERS:
        raise PathRefused(f"it is longer than {MAX_PATH_CHARACTERS} bytes")
    if b"%" not in path:
        return canonical_segments(path.decode("ascii"))
    try:
        return canonical_segments(_ESCAPE.sub(_decoded, path).decode("utf-8"))
    except UnicodeDecodeError:
        raise PathRefused("it has escapes that are not UTF-8") from None


def canonical_segments(path: str) -> tuple[str, ...]:
    """The segments of a decoded path, as a framework routes on it. Raises `PathRefused` as `canonical_path` does."""
    segments = _segments_if_canonical(path)
    if segments is None:
        raise PathRefused("it has an empty or dot segment, or a character that services read in different ways")
    return segments


def is_canonical(path: str) -> bool:
    """Whether all services read a decoded path in the same way."""
    return _segments_if_canonical(path) is not None


def _segments_if_canonical(path: str) -> tuple[str, ...] | None:
    if len(path) > MAX_PATH_CHARACTERS or _AMBIGUOUS.search(path) or (path and not path.startswith("/")):
        return None
    segments = split_path(path)
    return segments if "" not in segments and DOT_SEGMENTS.isdisjoint(segments) else None


def has_ambiguous_escape(path: str) -> bool:
    """Whether a path as it was sent has an escape that services read in different ways."""
    return _AMBIGUOUS_ESCAPE.search(path) is not None


def split_path(path: str) -> tuple[str, ...]:
    """The segments of a path that begins with a slash. One slash at the end is ignored."""
    return tuple(path[1:].removesuffix("/").split("/")) if len(path) > 1 else ()


def _decoded(escape: re.Match[bytes]) -> bytes:
    if escape[1] is None:
        raise PathRefused("it has a percent sign that encodes nothing")
    byte = int(escape[1], 16)
    if byte in _AMBIGUOUS_BYTES:
        raise PathRefused("it has an escape that services read in different ways")
    return bytes((byte,))
