"""An HTTP/1.1 transport for httpx with little CPU cost: it shares the cores with what is measured."""

import asyncio
from collections import defaultdict
from typing import Final

import httpx

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

TIMEOUT_SECONDS: Final = 5.0
_DROPPED_HEADERS: Final = (b"connection", b"accept-encoding")


class LoopbackTransport(httpx.AsyncBaseTransport):
    """Keeps connections to loopback open, without a limit on their number. Responses are read completely."""

    def __init__(self) -> None:
        self._idle: defaultdict[int, list[Connection]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or 80
        connection: Connection | None = None
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                connection = await self._connection(host, port)
                response = await _exchange(connection, request)
        except (OSError, EOFError, TimeoutError) as error:
            for _, writer in (*self._idle.pop(port, ()), *([connection] if connection else ())):
                writer.close()  # the server was killed: all its connections are dead
            raise httpx.ConnectError(f"{type(error).__name__} {error}", request=request) from None
        except BaseException:
            if connection:
                connection[1].close()
            raise
        self._idle[port].append(connection)
        return response

    async def _connection(self, host: str, port: int) -> Connection:
        idle = self._idle[port]
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(host, port)

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for _, writer in connections:
                writer.close()
        self._idle.clear()


async def _exchange(connection: Connection, request: httpx.Request) -> httpx.Response:
    reader, writer = connection
    body = await request.aread()
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % field for field in request.headers.raw if field[0].lower() not in _DROPPED_HEADERS]
    writer.write(b"\r\n".join([*lines, b"", body]))
    head = await reader.readuntil(b"\r\n\r\n")
    status, *rest = head[:-4].split(b"\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in rest)]
    length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
    content = await reader.readexactly(length) if length else b""
    return httpx.Response(int(status.split(b" ")[1]), headers=headers, content=content, request=request)
