"""HTTP/1.1 for httpx, as cheap as can be: what asks shares two cores with what is asked."""

import asyncio
from collections import defaultdict
from typing import Final

import httpx

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

TIMEOUT: Final = 5.0
_HOPS: Final = (b"connection", b"accept-encoding")


class Wire(httpx.AsyncBaseTransport):
    """Connections to loopback that are kept open, as many as are needed; the body of an answer comes as a whole."""

    def __init__(self) -> None:
        self._idle: defaultdict[int, list[Connection]] = defaultdict(list)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or 80
        connection: Connection | None = None
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = await self._connection(host, port)
                response = await _exchange(connection, request)
        except (OSError, EOFError, TimeoutError) as error:
            for _, writer in (*self._idle.pop(port, ()), *([connection] if connection else ())):
                writer.close()  # whoever was killed is at the other end of all of them
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
    lines += [b"%b: %b" % field for field in request.headers.raw if field[0].lower() not in _HOPS]
    writer.write(b"\r\n".join([*lines, b"", body]))
    head = await reader.readuntil(b"\r\n\r\n")
    status, *rest = head[:-4].split(b"\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in rest)]
    length = next((int(value) for name, value in headers if name.lower() == b"content-length"), 0)
    content = await reader.readexactly(length) if length else b""
    return httpx.Response(int(status.split(b" ")[1]), headers=headers, content=content, request=request)
