"""A request and its answer, independent of the connection."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

HEADER_COST: Final = 192
"""Bytes that a header takes in memory in addition to its name and value."""

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class HttpRequest:
    """`path` is percent-decoded, header names are lower-case, `body` is complete (or truncated above the limit).

    `target` is the request-target as it was sent (RFC 9112 §3.2); a gateway must forward exactly that.
    The values of a `repeated` header are joined with commas (RFC 9110 §5.3).
    `persists`: the client keeps the connection open for another request.
    """

    method: str
    path: str
    query: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    peer: str = ""
    repeated: Collection[bytes] = ()
    target: bytes = b""
    version: str = "1.1"
    persists: bool = True


@dataclass(slots=True)
class Answer:
    """`secret`: the headers have a cookie or a code, so the server keeps no copy of them."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)
    secret: bool = False


def request_size(request: HttpRequest) -> int:
    """Bytes that a request takes in memory, without its body."""
    headers = request.headers
    return len(request.target) + headers_size(headers) + HEADER_COST * (len(headers) + len(request.repeated))


def headers_size(headers: Mapping[bytes, bytes]) -> int:
    return sum(map(len, headers)) + sum(map(len, headers.values()))


Handler = Callable[[HttpRequest], Answer | Awaitable[Answer]]
"""Returns an Answer if no I/O is needed, else an awaitable."""

Refuse = Callable[[int, str], Answer]
"""Builds the answer to a request that the server itself refuses, from a status and a description for developers."""
