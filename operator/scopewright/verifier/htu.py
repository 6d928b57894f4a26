"""Normalises URLs (RFC 3986 §6.2.2, §6.2.3), so that `htu` can be compared with the URL of the request."""

import re
from typing import Final

LONGEST: Final = 4096
"""Maximum length of a URL in characters."""

_URL: Final = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._~%!$&'()*+,;=-]+)(?::(?P<port>[0-9]{0,5}))?"
    r"(?P<path>/[!-\"$->@-~]*)?(?:[?#][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_DEFAULT_PORT: Final = {"http": 80, "https": 443}
_TO_SPELL: Final = re.compile(r"%(?P<hex>[0-9A-Fa-f]{2})|[^A-Za-z0-9._~!$&'()*+,;=:@/-]")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def normalised(url: str) -> str:
    """The http(s) URL without query and fragment (RFC 9449 §4.3), normalised.

    Characters that a URI must not contain, such as `|`, are percent-encoded: not every client does that. Raises
    ValueError for anything but an absolute URL in ASCII without a user.
    """
    match = _URL.fullmatch(url) if len(url) <= LONGEST else None
    if match is None:
        raise ValueError("not an absolute http or https URL")
    scheme = match["scheme"].lower()
    port = int(match["port"] or _DEFAULT_PORT[scheme])
    # Decoded before lower-cased: %41 is a letter like any other.
    host = re.sub("%..", lambda escape: escape[0].upper(), _spelt(match["host"], "[]").lower())
    path = _without_dot_segments(_spelt(match["path"] or "/"))
    return f"{scheme}://{host}{'' if port == _DEFAULT_PORT[scheme] else f':{port}'}{path}"


def _spelt(text: str, kept: str = "") -> str:
    """Percent-encoding where it is needed and nowhere else, in upper case."""

    def spell(match: re.Match[str]) -> str:
        if match["hex"] is not None:
            char = chr(int(match["hex"], 16))
            return char if char in _UNRESERVED else match[0].upper()
        if match[0] == "%":
            raise ValueError("a percent sign that encodes nothing")
        return match[0] if match[0] in kept else f"%{ord(match[0]):02X}"

    return _TO_SPELL.sub(spell, text)


def _without_dot_segments(path: str) -> str:
    """RFC 3986 §5.2.4, for a path that begins with a slash."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
