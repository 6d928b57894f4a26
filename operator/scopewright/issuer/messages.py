"""What goes in and what comes out, whatever the transport: bytes and nothing of a web framework."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import orjson

Headers = tuple[tuple[bytes, bytes], ...]

JSON: Final = (b"content-type", b"application/json")
NO_STORE: Final[Headers] = (JSON, (b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
"""Of every answer to a client (RFC 6749 §5.1)."""


@dataclass(slots=True)
class HttpRequest:
    """`path` is percent-decoded, header names are lower-case, `body` is complete (or cut off above the limit)."""

    method: str
    path: str
    query: bytes = b""
    headers: Iterable[tuple[bytes, bytes]] = ()
    body: bytes = field(default=b"", repr=False)
    peer: str = ""


@dataclass(slots=True)
class Answer:
    status: int
    headers: Headers
    body: bytes = field(repr=False)


def json_answer(status: int, content: object, headers: Headers = NO_STORE) -> Answer:
    return Answer(status, headers, orjson.dumps(content))


def not_modified(http: HttpRequest, etag: bytes) -> bool:
    """Whether the caller has it already: weak comparison (RFC 9110 §13.1.2)."""
    sent = b",".join(value for name, value in http.headers if name == b"if-none-match")
    return any(tag.strip().removeprefix(b"W/") in (etag, b"*") for tag in sent.split(b","))
