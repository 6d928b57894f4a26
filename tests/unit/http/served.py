"""An echo server on loopback, and raw sockets to it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field

from scopewright.http import Answer, Certificate, HttpLimits, HttpRequest, HttpServer

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, path: bytes = b"/echo") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """A connection, whose bytes the test sends and reads."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self, *, bodiless: bool = False) -> Reply:
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if bodiless else int(headers.get("content-length", "0"))
        return Reply(int(first.split(" ")[1]), headers, await asyncio.wait_for(self.reader.readexactly(length), 10))

    async def ended(self) -> bytes:
        """Bytes that were received before the server closed."""
        return await asyncio.wait_for(self.reader.read(-1), 10)


@dataclass
class Served:
    """The running server. Responses below /slow wait for `gate`; `seen` are the requests."""

    server: HttpServer
    port: int
    gate: asyncio.Event
    seen: list[HttpRequest]
    task: "asyncio.Task[None]"
    stop: asyncio.Event
    wires: list[Wire] = field(default_factory=list)

    async def connect(self, **options: object) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.port, **options))  # type: ignore[arg-type]
        self.wires.append(wire)
        return wire


@contextlib.asynccontextmanager
async def serving(limits: HttpLimits, certificate: Certificate | None = None) -> AsyncIterator[Served]:
    gate, stop = asyncio.Event(), asyncio.Event()
    seen: list[HttpRequest] = []

    async def late(http: HttpRequest) -> Answer:
        await gate.wait()
        return echo(http)

    def echo(http: HttpRequest) -> Answer:
        if http.path == "/bug":
            raise RuntimeError("a bug")
        if http.path == "/large":
            return Answer(200, (), b"x" * 1_000_000)
        status = 304 if http.path == "/same" else 200
        return Answer(status, ((b"x-path", http.path.encode()),), http.body)

    def handle(http: HttpRequest) -> Answer | Awaitable[Answer]:
        seen.append(http)
        return late(http) if http.path.startswith("/slow") else echo(http)

    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    server = HttpServer(handle, limits=limits, certificate=certificate)
    task = asyncio.create_task(server.serve(listener, stop))
    served = Served(server, listener.getsockname()[1], gate, seen, task, stop)
    try:
        yield served
    finally:
        gate.set()
        for wire in served.wires:
            wire.writer.close()
        stop.set()
        await asyncio.wait_for(task, 10)
