"""Serve the issuer over HTTP, and finish requests in progress when it stops."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from scopewright.http import PROBES, Answer, Certificate, HttpLimits, HttpServer
from scopewright.issuer.authentication.replay import ReplayStore
from scopewright.issuer.build import IssuerSettings, build_issuer
from scopewright.issuer.observability import audit
from scopewright.issuer.protocol.errors import ErrorCode, OAuthError, unavailable
from scopewright.issuer.protocol.request import MAX_BODY_BYTES
from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.workers import HEARTBEAT_INTERVAL_SECONDS, OnReady, Worker
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.stores import ServiceAccountIssuer, Store
from scopewright.tracing import tracing

LIMITS: Final = HttpLimits(body=MAX_BODY_BYTES)
_OTHER_FILES: Final = 256
"""Open files in addition to connections."""
_READY_TIMEOUT_SECONDS: Final = 5.0
"""After this, one of several workers listens although it is not ready: its answers say what it waits for."""


async def serve_issuer(
    issuer: Issuer,
    *,
    listener: socket.socket,
    certificate: Certificate | None = None,
    limits: HttpLimits = LIMITS,
    stop: asyncio.Event | None = None,
    on_ready: OnReady = lambda url: None,
) -> None:
    """Serve a running issuer until `stop` is set or the task is cancelled, then close the listener."""
    metrics = issuer.metrics.connections
    server = HttpServer(
        issuer.decide, refuse=transport_refusal, limits=limits, certificate=certificate, count=metrics.count
    )
    metrics.usage = server.usage
    announcing = asyncio.create_task(_announce(issuer, on_ready), name="ready")
    try:
        await server.serve(listener, stop)
    finally:
        announcing.cancel()


@asynccontextmanager
async def observed(issuer: Issuer, listener: socket.socket | None) -> AsyncIterator[None]:
    """Serve health and metrics on a listener of their own while the block runs."""
    if listener is None:
        yield
        return
    serving = asyncio.create_task(
        HttpServer(issuer.observe, refuse=transport_refusal, limits=PROBES).serve(listener), name="observe"
    )
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _announce(issuer: Issuer, on_ready: OnReady) -> None:
    on_ready(await issuer.ready())
    # The records are not garbage: exclude them from full collections, which would delay requests.
    gc.collect()
    gc.freeze()


def transport_refusal(status: int, description: str) -> Answer:
    """A refusal of the HTTP server, in the form of the issuer's own."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return unavailable(description, reason="transport").answer()
    error: ErrorCode = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    return OAuthError(error, description, status=status).answer()


def run(
    open_store: Callable[[], AbstractAsyncContextManager[Store]],
    settings: IssuerSettings,
    worker: Worker,
    *,
    limits: HttpLimits = LIMITS,
    certificate: Certificate | None = None,
    replay: ReplayStore | None = None,
    sink: audit.Sink = audit.to_log,
) -> None:
    """Serve in this process until SIGTERM or SIGINT, on uvloop if it is installed."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if worker.parent_pipe is not None:
            loop.add_reader(worker.parent_pipe, stop.set)
        heartbeats = asyncio.create_task(_send_heartbeats(worker.heartbeat), name="heartbeat")
        async with open_store() as store, _closed_at_end(settings.users):
            built = build_issuer(
                replace(settings, writes_snapshot=worker.writes_snapshot),
                store,
                writer=store,
                service_accounts=store if isinstance(store, ServiceAccountIssuer) else None,
                replay=replay,
                counters=worker.counters,
                sink=sink,
                tracing=traces,
            )
            listener = worker.observe() if worker.observe else None
            async with built.running() as issuer, observed(issuer, listener):
                if not worker.is_only_worker:
                    await _until_ready(issuer, stop)
                await serve_issuer(
                    issuer,
                    listener=worker.listen(),
                    certificate=certificate,
                    limits=allowed,
                    stop=stop,
                    on_ready=worker.on_ready,
                )
        heartbeats.cancel()

    allowed = _within_open_files(limits)
    with tracing("scopewright-issuer") as traces, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


@asynccontextmanager
async def _closed_at_end(users: UserEndpointSettings | None) -> AsyncIterator[None]:
    """Close the session store after the block, when no request needs it."""
    try:
        yield
    finally:
        if users is not None:
            await users.store.close()


async def _send_heartbeats(heartbeat: Callable[[], None]) -> None:
    while True:
        heartbeat()
        await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)


def _within_open_files(limits: HttpLimits) -> HttpLimits:
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


async def _until_ready(issuer: Issuer, stop: asyncio.Event) -> None:
    """Requests that other workers can serve must not reach a worker that cannot serve them yet."""
    waiting = [asyncio.create_task(issuer.ready()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waiting, timeout=_READY_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
