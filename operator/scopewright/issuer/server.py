"""Serving the issuer over HTTP: a listener, uvicorn, and an end that finishes what it has begun."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import uvicorn

from scopewright.issuer import audit
from scopewright.issuer.app import App
from scopewright.issuer.service import Issuer
from scopewright.issuer.usage import EVERY
from scopewright.stores import Reader, Store

log: Final = logging.getLogger(__name__)

GRACE: Final = 10
"""Seconds that requests in progress get when the issuer is asked to stop."""

_KEEP_ALIVE: Final = 75
_BACKLOG: Final = 2048

OnReady = Callable[[str], None]
"""Called once with the issuer's URL, when tokens can be had."""


class _Server(uvicorn.Server):
    """Signals are the business of whoever owns the event loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    reader: Reader,
    *,
    namespace: str,
    listener: socket.socket,
    snapshot: Path | None = None,
    sink: audit.Sink = audit.to_log,
    reports: Store | None = None,
    reports_every: float = EVERY,
    stop: asyncio.Event | None = None,
    on_ready: OnReady = lambda url: None,
) -> None:
    """Serve until `stop` is set or the task is cancelled; the listener is closed on the way out."""
    issuing = Issuer(
        reader, namespace=namespace, snapshot=snapshot, sink=sink, reports=reports, reports_every=reports_every
    )
    async with issuing.running() as issuer:
        await serve_issuer(issuer, listener=listener, stop=stop, on_ready=on_ready)


async def serve_issuer(
    issuer: Issuer, *, listener: socket.socket, stop: asyncio.Event | None = None, on_ready: OnReady = lambda url: None
) -> None:
    """The same for an issuer that is already running."""
    server = _Server(_config(issuer))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    announcing = asyncio.create_task(_announce(issuer, on_ready), name="ready")
    stopping = asyncio.create_task((stop or asyncio.Event()).wait(), name="stop")
    try:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        announcing.cancel()
        stopping.cancel()
        server.should_exit = True
        await serving
        listener.close()


async def _announce(issuer: Issuer, on_ready: OnReady) -> None:
    on_ready(await issuer.ready())


def _config(issuer: Issuer) -> uvicorn.Config:
    return uvicorn.Config(
        App(issuer),
        lifespan="off",
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        backlog=_BACKLOG,
    )


def run(
    open_store: Callable[[], AbstractAsyncContextManager[Store]],
    *,
    namespace: str,
    listener: socket.socket,
    snapshot: Path | None = None,
    sink: audit.Sink = audit.to_log,
    reports_every: float = EVERY,
    on_ready: OnReady = lambda url: None,
) -> None:
    """A process of its own: serve until SIGTERM or SIGINT, on uvloop where it is installed."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        async with open_store() as store:
            await serve(
                store,
                namespace=namespace,
                listener=listener,
                snapshot=snapshot,
                sink=sink,
                reports=store,
                reports_every=reports_every,
                stop=stop,
                on_ready=on_ready,
            )

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
