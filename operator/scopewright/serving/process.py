"""Run one serving process: event loop, signals, heartbeats, open files, and listeners for requests and for metrics."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from scopewright.http import PROBES, Certificate, Handler, HttpLimits, HttpServer, Refuse
from scopewright.serving.connections import ConnectionMetrics
from scopewright.serving.workers import HEARTBEAT_INTERVAL_SECONDS, Worker
from scopewright.tracing import Tracing, tracing

_OTHER_FILES: Final = 256
"""Open files in addition to connections."""
READY_TIMEOUT_SECONDS: Final = 5.0
"""After this, one of several workers listens although it is not ready: its answers say what it waits for."""


def run_process(main: Callable[[asyncio.Event, Tracing | None], Awaitable[None]], worker: Worker, service: str) -> None:
    """Run `main` on uvloop if it is installed. Its event is set at SIGTERM and SIGINT, and if the parent exits.

    `service` is the default service name of traces.
    """

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if worker.parent_pipe is not None:
            loop.add_reader(worker.parent_pipe, stop.set)
        heartbeats = asyncio.create_task(_send_heartbeats(worker.heartbeat), name="heartbeat")
        await main(stop, traces)
        heartbeats.cancel()

    with tracing(service) as traces, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(until_stopped())


async def serve_requests(
    handler: Handler,
    refuse: Refuse,
    metrics: ConnectionMetrics,
    announce: Callable[[], Awaitable[None]],
    *,
    listener: socket.socket,
    limits: HttpLimits,
    certificate: Certificate | None,
    stop: asyncio.Event | None,
    before_answers: Callable[[], None],
) -> None:
    """Serve until `stop` is set or the task is cancelled, then close the listener.

    `announce` waits until the process is ready, and reports it. `before_answers`: see `HttpServer`.
    """
    server = HttpServer(
        handler,
        refuse=refuse,
        limits=limits,
        certificate=certificate,
        count=metrics.count,
        before_answers=before_answers,
    )
    metrics.usage = server.usage
    announcing = asyncio.create_task(_announce(announce), name="ready")
    try:
        await server.serve(listener, stop)
    finally:
        announcing.cancel()


async def _announce(announce: Callable[[], Awaitable[None]]) -> None:
    await announce()
    # The records are not garbage: exclude them from full collections, which would delay requests.
    gc.collect()
    gc.freeze()


@asynccontextmanager
async def served_probes(handler: Handler, refuse: Refuse, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serve health and metrics on a listener of their own while the block runs."""
    if listener is None:
        yield
        return
    serving = asyncio.create_task(HttpServer(handler, refuse=refuse, limits=PROBES).serve(listener), name="observe")
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def until_ready(ready: Awaitable[object], stop: asyncio.Event) -> None:
    """Requests that other workers can serve must not reach a worker that cannot serve them yet."""
    waiting = [asyncio.ensure_future(ready), asyncio.ensure_future(stop.wait())]
    await asyncio.wait(waiting, timeout=READY_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def within_open_files(limits: HttpLimits) -> HttpLimits:
    """Raise the limit of open files; if that is not enough, lower the number of connections: `accept` must not fail.

    Each connection is an open file. The default limit of many systems is 1,024.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.most_connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, allowed - _OTHER_FILES))


async def _send_heartbeats(heartbeat: Callable[[], None]) -> None:
    while True:
        heartbeat()
        await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
