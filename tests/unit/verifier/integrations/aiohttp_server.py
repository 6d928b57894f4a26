"""The service of `service.py` on aiohttp, as a server on loopback: aiohttp has no interface between both."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final

from aiohttp import web

from scopewright.verifier import Verifier
from scopewright.verifier import aiohttp as for_aiohttp
from tests.unit.verifier.integrations.service import (
    ANY_OF,
    BASE_URL,
    OPTIONAL,
    PUBLIC,
    ROLES,
    Answer,
    Headers,
    Record,
    Service,
    caller,
)

MAX_HEADER_BYTES: Final = 20_000_000
"""Above the longest token of the tests: the server's own limit is 8 KB."""

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class SocketService:
    """Sends bytes as they are."""

    def __init__(self, port: int, record: Record) -> None:
        self.record = record
        self._port = port

    def send(self, target: str, headers: Headers = (), method: str = "GET") -> Answer:
        lines = [f"{method} {target} HTTP/1.1", "Host: payroll", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers]
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
            received = b"".join(iter(lambda: connection.recv(65536), b""))
        head, _, body = received.partition(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        pairs = [(name, value) for name, _, value in (field.partition(": ") for field in fields)]
        return Answer(int(status.split(" ")[1]), pairs, body)


def aiohttp_app(verifier: Verifier, record: Record) -> web.Application:
    async def view(request: web.Request) -> web.Response:
        if request.path == "/write":
            for_aiohttp.require(request, "payroll.write")
        elif request.path == "/audit":
            for_aiohttp.require(request, any_of=ANY_OF, roles=ROLES)
        elif request.path.startswith("/salaries/"):
            for_aiohttp.require(request, "payroll.read")
        record.seen.append(request.path)
        if request.path == "/broken":
            raise ZeroDivisionError
        return web.Response(text=caller(for_aiohttp.current_token(request)))

    @web.middleware
    async def errors(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException:
            raise
        except Exception as error:
            record.errors.append(repr(error))
            raise

    middleware = for_aiohttp.token_middleware(
        verifier, public=PUBLIC, optional=OPTIONAL, base_url=BASE_URL, resource_metadata=True
    )
    app = web.Application(middlewares=[errors, middleware])
    app.router.add_route("*", "/{path:.*}", view)
    return app


@contextlib.contextmanager
def in_thread() -> Iterator[Run]:
    """A function that runs coroutines on an event loop in a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def aiohttp_service(verifier: Verifier) -> Iterator[Service]:
    record = Record()
    runner = web.AppRunner(aiohttp_app(verifier, record), max_field_size=MAX_HEADER_BYTES)
    with in_thread() as run:
        run(runner.setup())
        try:
            run(web.TCPSite(runner, "127.0.0.1", 0).start())
            yield SocketService(runner.addresses[0][1], record)
        finally:
            run(runner.cleanup())
