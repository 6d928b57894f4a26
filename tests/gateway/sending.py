"""Many requests at once, on connections that are kept alive."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from tests.gateway.generator import Request

CLOSED: Final = 0
"""The status of a request whose connection or stream was closed without an answer."""
CONNECTIONS: Final = 8
TIMEOUT_SECONDS: Final = 60.0


async def send_http1(port: int, requests: Sequence[Request]) -> list[int]:
    """The status of each request."""
    statuses = [CLOSED] * len(requests)
    pending = iter(enumerate(requests))

    async def connection() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            for index, request in pending:
                reader, writer = streams = streams or await asyncio.open_connection("127.0.0.1", port)
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    writer.write(request.http1())
                    try:
                        statuses[index], reusable = await _response(reader, to_head=request.method == "HEAD")
                    except (asyncio.IncompleteReadError, ConnectionError):
                        reusable = False
                if not reusable:
                    writer.close()
                    streams = None
        finally:
            if streams:
                streams[1].close()

    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(connection())
    return statuses


async def _response(reader: asyncio.StreamReader, *, to_head: bool) -> tuple[int, bool]:
    """The status, and whether the connection may be used again."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    lines = [line.partition(":") for line in head.split("\r\n")[1:]]
    headers = {name: value.strip() for name, _, value in lines}
    status = int(head.split()[1])
    if not to_head and status not in (204, 304):
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        elif "content-length" in headers:
            await reader.readexactly(int(headers["content-length"]))
        else:
            await reader.read()
            return status, False
    return status, headers.get("connection") != "close"


class Http2Request(Protocol):
    """Headers, pseudo-headers first, and body."""

    @property
    def body(self) -> bytes: ...

    def http2(self) -> Sequence[tuple[bytes, bytes]]: ...


async def send_http2(port: int, requests: Sequence[Http2Request]) -> list[int]:
    """The status of each request. Those that a proxy leaves unanswered when it ends a connection are sent again."""
    statuses = [CLOSED] * len(requests)
    unsent = list(enumerate(requests))
    while unsent:
        unanswered, unsent = await _http2_connection(port, unsent, CONNECTIONS, statuses)
        for each in unanswered:
            await _http2_connection(port, [each], 1, statuses)
    return statuses


_Numbered = list[tuple[int, Http2Request]]


async def _http2_connection(
    port: int, requests: _Numbered, concurrency: int, statuses: list[int]
) -> tuple[_Numbered, _Numbered]:
    """Sends requests until all are answered or the connection ends; returns those not answered, and those not sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    settings = H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False)
    connection = H2Connection(settings)
    connection.initiate_connection()
    streams: dict[int, tuple[int, Http2Request]] = {}
    sent = 0
    open_ = True
    try:
        while open_ and (sent < len(requests) or streams):
            while sent < len(requests) and len(streams) < concurrency:
                stream, (index, request) = connection.get_next_available_stream_id(), requests[sent]
                connection.send_headers(stream, request.http2(), end_stream=not request.body)
                if request.body:
                    connection.send_data(stream, request.body, end_stream=True)
                streams[stream] = (index, request)
                sent += 1
            writer.write(connection.data_to_send())
            async with asyncio.timeout(TIMEOUT_SECONDS):
                data = await reader.read(65536)
            open_ = bool(data)
            for event in connection.receive_data(data):
                match event:
                    case ResponseReceived():
                        statuses[streams[event.stream_id][0]] = int(dict(event.headers)[b":status"])
                    case DataReceived():
                        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    case StreamEnded() | StreamReset():
                        streams.pop(event.stream_id, None)
                    case ConnectionTerminated():
                        open_ = False
    except (ConnectionError, ProtocolError):  # frames after a GOAWAY, too
        pass
    finally:
        writer.close()
    return list(streams.values()), requests[sent:]
