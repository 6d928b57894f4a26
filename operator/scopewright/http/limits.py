"""What one connection may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
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
    connections: int = 8192
    """Of one process."""
    connections_per_peer: int | None = 1024
    """Of one address, in one process. Everybody behind one proxy shares one; None is no limit."""
    held: int = 32 * 1024 * 1024
    """Of all connections of one process: answers that are not read, and requests that wait behind others. Beyond it,
    those that have held some for longest are cut off."""
    request_timeout: float = 10.0
    """From the first byte of a request to its last, and from the connection to the first byte."""
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
