"""Connections whose bytes reach the HTTP parser in small parts, and with few lines.

The parser works through all that it has before the event loop runs again. Headers, chunks of one byte and interim
responses cost it some 30 µs for each few bytes, so 64 KiB of them would stop all other requests of the process for half
a second.
"""

import asyncio
import re
import ssl
from collections.abc import Iterable
from typing import Any, Final

import httpcore

from scopewright.http_flow import FetchError

MAX_HEAD: Final = 16 * 1024
"""Bytes of the status line and the headers."""
MAX_HEAD_LINES: Final = 256
MAX_LINES: Final = 4096
"""Of an answer. A chunk has two at least."""
_PART: Final = 1024
"""Bytes that the parser gets at once, for each of up to 16 answers of a provider that arrive together."""
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1")


class AnswerTooCostly(FetchError):
    """The text says of what the answer has too much."""


class BoundedBackend(httpcore.AsyncNetworkBackend):
    """The network, with streams that are bounded."""

    def __init__(self) -> None:
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # of the base class
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._network.connect_tcp(host, port, timeout, local_address, socket_options)
        return _BoundedStream(stream)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class _BoundedStream(httpcore.AsyncNetworkStream):
    """Of one request: a connection is not used again."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._bounds = AnswerBounds()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Raises `AnswerTooCostly`."""
        await asyncio.sleep(0)  # TLS returns what it has without a pause
        part = await self._stream.read(min(max_bytes, _PART), timeout)
        self._bounds.add(part)
        return part

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class AnswerBounds:
    """Counts the lines of an answer as its bytes arrive."""

    def __init__(self) -> None:
        self._head: bytearray | None = bytearray()
        """None: it has ended."""
        self._lines = 0

    def add(self, part: bytes) -> None:
        """Raises `AnswerTooCostly`."""
        self._lines += part.count(b"\n")
        if self._lines > MAX_LINES:
            raise AnswerTooCostly(f"more than {MAX_LINES} lines")
        if self._head is not None:
            self._head += part
            self._check_head(self._head)

    def _check_head(self, head: bytearray) -> None:
        end = _BLANK_LINE.search(head)
        if _INTERIM.match(head):  # one could follow another; no request asks for one (RFC 9110 §15.2)
            raise AnswerTooCostly("an interim response, which was not asked for")
        size = end.end() if end else len(head)
        if size > MAX_HEAD or head.count(b"\n", 0, size) > MAX_HEAD_LINES:
            raise AnswerTooCostly(f"headers of more than {MAX_HEAD >> 10} KiB or {MAX_HEAD_LINES} lines")
        if end:
            self._head = None
