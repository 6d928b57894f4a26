"""A request and its answer, independent of the connection."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class HttpRequest:
    """`path` is percent-decoded, header names are lower-case, `body` is complete (or truncated above the limit).

    `target` is the request-target as it was sent (RFC 9112 §3.2); a gateway must forward exactly that.
    The values of a `repeated` header are joined with commas (RFC 9110 §5.3).
    """

    method: str
    path: str
    query: bytes = b""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    peer: str = ""
    repeated: Collection[bytes] = ()
    target: bytes = b""


@dataclass(slots=True)
class Answer:
    """`secret`: the headers have a cookie or a code, so the server keeps no copy of them."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)
    secret: bool = False


Handler = Callable[[HttpRequest], Answer | Awaitable[Answer]]
"""Returns an Answer if no I/O is needed, else an awaitable."""

Refuse = Callable[[int, str], Answer]
"""Builds the answer to a request that the server itself refuses, from a status and a description for developers."""
