"""Every integration of the verifier as a server on loopback with one resource, which requires payroll.read.

`INTEGRATIONS` has one entry for each. To add one, write a context manager that serves the resource with a verifier, and
yields a function that sends values of Authorization and returns the `Outcome`; `http_sender` is that of HTTP.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import grpc
import grpc.aio
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scopewright.verifier import Verifier, protect, require
from scopewright.verifier import aiohttp as aiohttp_integration
from tests.unit.verifier import rpc
from tests.unit.verifier.support import FakeIssuer

REACHED: Final = "reached"


@dataclass(frozen=True)
class Outcome:
    """`status` is that of HTTP, or None if client or server refused to transmit the request."""

    status: int | None
    challenge: str = ""
    retry: str = ""
    reached: bool = False


Send = Callable[..., Awaitable[Outcome]]


@dataclass(frozen=True)
class Integration:
    serving: Callable[[Verifier], AbstractAsyncContextManager[Send]]
    is_sync: bool = False
    """Uses `verify_sync`."""

    def http(self, issuer: FakeIssuer) -> Any:
        return issuer.client() if self.is_sync else issuer.async_client()


def http_sender(port: int) -> Send:
    """Sends `GET /` with any bytes as values, each on a new connection."""

    async def send(*values: str) -> Outcome:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        headers = "".join(f"Authorization: {value}\r\n" for value in values)
        head = body = b""
        with contextlib.suppress(ConnectionError):  # of a server that does not read long headers to their end
            writer.write(f"GET / HTTP/1.1\r\nHost: payroll\r\nConnection: close\r\n{headers}\r\n".encode())
            await writer.drain()
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        status, _, fields = head.decode("latin-1").partition("\r\n")
        pairs = [line.partition(": ")[::2] for line in fields.split("\r\n")]
        named = {name.lower(): value for name, value in pairs}
        return Outcome(
            int(status.split(" ")[1]) if status else None,
            named.get("www-authenticate", ""),
            named.get("retry-after", ""),
            REACHED.encode() in body,
        )

    return send


async def salaries(request: Request) -> PlainTextResponse:
    require(request, "payroll.read")
    return PlainTextResponse(REACHED)


@contextlib.asynccontextmanager
async def asgi(verifier: Verifier) -> AsyncIterator[Send]:
    app = protect(Starlette(routes=[Route("/", salaries)]), verifier)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    listening = socket.create_server(("127.0.0.1", 0))
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield http_sender(listening.getsockname()[1])
    finally:
        server.should_exit = True
        await task


async def aiohttp_salaries(request: web.Request) -> web.Response:
    aiohttp_integration.require(request, "payroll.read")
    return web.Response(text=REACHED)


@contextlib.asynccontextmanager
async def aiohttp_server(verifier: Verifier) -> AsyncIterator[Send]:
    app = web.Application(middlewares=[aiohttp_integration.token_middleware(verifier)])
    app.add_routes([web.get("/", aiohttp_salaries)])
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield http_sender(runner.addresses[0][1])
    finally:
        await runner.cleanup()


_HTTP_STATUS: Final = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.RESOURCE_EXHAUSTED: None,  # the metadata is too large
}


@contextlib.asynccontextmanager
async def grpc_server(verifier: Verifier, server: str) -> AsyncIterator[Send]:
    async with rpc.serving(server, verifier) as address, grpc.aio.insecure_channel(address) as channel:
        method: Any = channel.unary_unary(rpc.METHODS[0])

        async def send(*values: str) -> Outcome:
            if not all(value.isascii() and value.isprintable() for value in values):
                return Outcome(None)  # the client refuses such metadata
            call = method(b"", metadata=[("authorization", value) for value in values], timeout=30)
            with contextlib.suppress(grpc.RpcError):
                await call
            code = await call.code()
            trailing: Mapping[str, Any] = dict(await call.trailing_metadata())
            return Outcome(
                _HTTP_STATUS[code],
                trailing.get("www-authenticate", ""),
                trailing.get("grpc-retry-pushback-ms", ""),
                code is grpc.StatusCode.OK,
            )

        yield send


INTEGRATIONS: Final = {
    "ASGI": Integration(asgi),
    "aiohttp": Integration(aiohttp_server),
    **{
        f"gRPC {server}": Integration(partial(grpc_server, server=server), is_sync=server == "sync")
        for server in rpc.SERVERS
    },
}
