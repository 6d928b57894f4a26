"""One request on a new connection, and its response as bytes."""

import socket
from typing import Final

from bench.benchmark import BenchmarkError

_TIMEOUT_SECONDS: Final = 10.0


def response(port: int, request: bytes) -> bytes:
    """Head and body, with a `content-length`. BenchmarkError if it is not 200."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        while not _complete(received):
            more = connection.recv(65536)
            if not more:
                raise BenchmarkError(f"port {port} closed the connection after {received[:200]!r}")
            received += more
    if not received.startswith(b"HTTP/1.1 200 "):
        raise BenchmarkError(f"port {port} answers {received[:200]!r}")
    return received


def _complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(found) and len(body) >= int(length)
