"""Limits of a connection, and of all connections together."""

from dataclasses import dataclass
from typing import Final

CONNECTION_COST: Final = 8 * 1024
"""Bytes of a connection: its Python objects (4 KiB, measured) and its socket in the kernel."""
HANDSHAKE_COST: Final = 48 * 1024
"""Additional bytes during a TLS handshake (46 KiB, measured with OpenSSL 3)."""
SESSION_COST: Final = 20 * 1024
"""Additional bytes after the handshake (17 KiB, measured)."""
READ_BUFFER: Final = 64 * 1024
"""Bytes of the read buffer that all connections share."""
SOCKET_BUFFER: Final = 64 * 1024
"""Bytes of a socket's buffer in the kernel, for each direction. The kernel doubles it."""
BACKLOG: Final = 4096
"""Connections that the kernel queues until they are accepted. Linux limits it to net.core.somaxconn."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Sizes in bytes, times in seconds.

    A body over its limit reaches the handler truncated to one byte above it, so that the application refuses it.
    """

    target: int = 8 * 1024
    """The request target: path and query."""
    headers: int = 32 * 1024
    """Names and values of all headers together."""
    header_count: int = 64
    body: int = 16 * 1024
    pipelined: int = 64
    """Requests that wait on one connection. After more, it is closed, and the client retries the rest."""
    memory: int = 64 * 1024 * 1024
    """Of all connections of one process, from `accept` on: sockets, TLS, incomplete requests, requests that wait for
    their answer, and answers that the client has not read. When it is exhausted, connections are closed, the longest
    idle first.
    """
    connections: int | None = None
    """Maximum of one process, if fewer files may be open than `memory` has room for. Default: no maximum."""
    connections_per_peer: int | None = 1024
    """Of one address (IPv6: one /64), in one process. All clients behind one proxy share it. None: no limit for an
    address, neither of connections nor of memory.
    """
    share: float = 0.25
    """Maximum fraction of `memory` for one address."""
    request_timeout: float = 10.0
    """From the first byte of a request to its last, and from the connection, TLS included, to the first byte."""
    keep_alive: float = 75.0
    """How long a connection may be idle after an answer."""
    write_timeout: float = 10.0
    """How long a client may leave an answer unread."""
    linger: float = 2.0
    """How long bytes are read and discarded after an answer that was sent before the request was complete."""
    closing: float = 0.5
    """How long an idle connection stays open when the server stops: a request may already be on its way."""
    grace: float = 10.0
    """How long requests in progress may take when the server stops."""

    @property
    def head(self) -> int:
        """Maximum of request target and headers together."""
        return self.target + self.headers

    @property
    def message(self) -> int:
        """Maximum of a whole request, with chunk sizes, extensions and trailers."""
        return self.head + 8 * self.body

    @property
    def most_connections(self) -> int:
        """Maximum of one process, if none of them holds a request."""
        fits = max(1, self.memory // CONNECTION_COST)
        return fits if self.connections is None else min(self.connections, fits)


PROBES: Final = HttpLimits(
    memory=8 * 1024 * 1024, connections_per_peer=None, body=0, pipelined=4, request_timeout=5.0, grace=1.0
)
"""For the listeners of health and metrics, which have few callers."""
