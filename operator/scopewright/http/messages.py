"""What goes in and what comes out: bytes, and nothing of a connection."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True)
class HttpRequest:
    """`path` is percent-decoded, header names are lower-case, `body` is complete (or cut off above the limit).

    `target` is the request-target as it was sent (RFC 9112 §3.2): a gateway has to pass on exactly that.
    The values of a header that is `repeated` are one, with commas between them (RFC 9110 §5.3).
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
    status: int
    headers: Headers
    body: bytes = field(repr=False)


Handler = Callable[[HttpRequest], Answer | Awaitable[Answer]]
"""An Answer at once wherever memory is enough; an awaitable only where something has to be waited for."""

Refuse = Callable[[int, str], Answer]
"""How the application words what the server refuses by itself: a status and a sentence for developers."""
