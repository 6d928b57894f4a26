"""Parts of the grammar of requests that llhttp does not check."""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.~_-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""uri-host [ ":" port ] (RFC 9112 §3.2, RFC 3986 §3.2.2)."""
AUTHORITY: Final = re.compile(rb"https?://([^/?]+)(?=[/?]|$)", re.IGNORECASE)
"""The beginning of a target in absolute form."""


def decoded_path(path: bytes) -> str:
    if b"%" in path:
        path = unquote_to_bytes(path)
    try:
        return path.decode()  # 0.7 µs faster than with an argument
    except UnicodeDecodeError:
        return path.decode(errors="replace")


def tokens(value: bytes) -> list[bytes]:
    """Members of a list such as Connection, in lower case (RFC 9110 §5.6.1)."""
    return [token for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def number(value: bytes) -> int:
    """Zero if it is not a number: llhttp refuses that."""
    value = value.strip().lstrip(b"0")
    return int(value[:20]) if value.isdigit() else 0
