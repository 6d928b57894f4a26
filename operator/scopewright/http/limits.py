"""What connections may cost, one by one and all together."""

from dataclasses import dataclass
from typing import Final

CONNECTION_COST: Final = 8 * 1024
"""Bytes that a connection takes: its objects here (4 KiB, measured) and its socket in the kernel."""
HANDSHAKE_COST: Final = 48 * 1024
"""Bytes more, from the first byte of a TLS handshake to its end (46 KiB, measured with OpenSSL 3)."""
SESSION_COST: Final = 20 * 1024
"""Bytes more, after the handshake (17 KiB, measured)."""
READ_BUFFER: Final = 64 * 1024
"""Bytes that are read at once, into one buffer that all connections share."""
SOCKET_BUFFER: Final = 64 * 1024
"""Bytes of a socket's own buffer in the kernel, for each direction; the kernel takes twice as much for it."""
BACKLOG: Final = 4096
"""Connections that the kernel keeps until they are accepted, which Linux holds to net.core.somaxconn."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds.

    A body over its limit reaches the handler cut off one byte above it: the refusal is the application's to word.
    """

    target: int = 8 * 1024
    """Of the request line: path and query."""
    headers: int = 32 * 1024
    """Names and values of all headers together."""
    header_count: int = 64
    body: int = 16 * 1024
    pipelined: int = 64
    """Requests that wait on one connection; after these it is closed, and the client sends the rest again."""
    memory: int = 64 * 1024 * 1024
    """Of all connections of one process, from `accept` on: sockets, TLS, incomplete requests, requests that wait for
    their answer, and answers that are not read. When it is used up, connections are closed: the longest idle first.
    """
    connections: int | None = None
    """The most connections of one process, where fewer files may be open than `memory` has room for."""
    connections_per_peer: int | None = 1024
    """Of one address (IPv6: one /64), in one process. Everybody behind one proxy shares one. None is no limit for an
    address, neither of connections nor of memory.
    """
    share: float = 0.25
    """Of `memory`, the most that one address may use."""
    request_timeout: float = 10.0
    """From the first byte of a request to its last, and from the connection, TLS included, to the first byte."""
    keep_alive: float = 75.0
    """How long a connection may be idle after an answer."""
    write_timeout: float = 10.0
    """How long a client may leave unread what it has asked for."""
    linger: float = 2.0
    """How long is read on, and thrown away, after an answer that came before the request was complete."""
    closing: float = 0.5
    """How long an idle connection is kept when the server stops: a request may be on its way already."""
    grace: float = 10.0
    """How long requests in progress get when the server stops."""

    @property
    def head(self) -> int:
        """The most that a request line and headers may have together."""
        return self.target + self.headers

    @property
    def message(self) -> int:
        """The most that a whole request may have, with chunk sizes, extensions and trailers."""
        return self.head + 8 * self.body

    @property
    def most_connections(self) -> int:
        """Connections that one process may have, none of which holds anything."""
        fits = max(1, self.memory // CONNECTION_COST)
        return fits if self.connections is None else min(self.connections, fits)


PROBES: Final = HttpLimits(
    memory=8 * 1024 * 1024, connections_per_peer=None, body=0, pipelined=4, request_timeout=5.0, grace=1.0
)
"""For health and metrics: few callers, which the many connections of others must not shut out."""
