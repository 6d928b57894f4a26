"""Serving the issuer over HTTP, and an end that finishes what it has begun."""

import asyncio
import gc
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Final

from scopewright.http import PROBES, Answer, Certificate, HttpLimits, HttpServer
from scopewright.issuer.authentication.replay import ReplayStore
from scopewright.issuer.observability import audit
from scopewright.issuer.observability.usage import EVERY
from scopewright.issuer.protocol.errors import ErrorCode, OAuthError, unavailable
from scopewright.issuer.protocol.request import MAX_BODY_BYTES
from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.serving.workers import BEAT_EVERY, OnReady, Worker
from scopewright.stores import ServiceAccountIssuer, Store
from scopewright.tracing import tracing

LIMITS: Final = HttpLimits(body=MAX_BODY_BYTES)
_OTHER_FILES: Final = 256
_ALONE: Final = 5.0
"""Seconds after which one of several workers listens even though it is not ready, to say what it waits for."""


async def serve_issuer(
    issuer: Issuer,
    *,
    listener: socket.socket,
    certificate: Certificate | None = None,
    limits: HttpLimits = LIMITS,
    stop: asyncio.Event | None = None,
    on_ready: OnReady = lambda url: None,
) -> None:
    """Serve an issuer that is running until `stop` is set or the task is cancelled, and close the listener."""
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
    """Serve health and metrics beside it, from before the first token until after the last one."""
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
    # The records stay: a full collection has nothing to find in them, and would stop the tokens to look.
    gc.collect()
    gc.freeze()


def transport_refusal(status: int, description: str) -> Answer:
    """In the words of the issuer's other refusals."""
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        return unavailable(description, reason="transport").answer()
    error: ErrorCode = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"
    return OAuthError(error, description, status=status).answer()


def run(
    open_store: Callable[[], AbstractAsyncContextManager[Store]],
    *,
    namespace: str,
    worker: Worker,
    snapshot: Path | None = None,
    sink: audit.Sink = audit.to_log,
    reports_every: float = EVERY,
    certificate: Certificate | None = None,
    replay: ReplayStore | None = None,
    connections_per_address: int | None = LIMITS.connections_per_peer,
    connection_memory: int = LIMITS.memory,
    proxies: TrustedProxies | None = None,
) -> None:
    """A process of its own: serve until SIGTERM or SIGINT, on uvloop where it is installed."""

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if worker.tether is not None:
            loop.add_reader(worker.tether, stop.set)
        beating = asyncio.create_task(_beat(worker.beat), name="heartbeat") if worker.beat else None
        async with open_store() as store:
            issuing = Issuer(
                store,
                namespace=namespace,
                snapshot=snapshot,
                keeps_snapshot=worker.keeps_snapshot,
                row=worker.row,
                sink=sink,
                reports=store,
                reports_every=reports_every,
                replay=replay,
                service_accounts=store if isinstance(store, ServiceAccountIssuer) else None,
                tracing=traces,
                proxies=proxies,
            )
            listener = worker.observe() if worker.observe else None
            async with issuing.running() as issuer, observed(issuer, listener):
                if not worker.alone:
                    await _until_ready(issuer, stop)
                await serve_issuer(
                    issuer,
                    listener=worker.listen(),
                    certificate=certificate,
                    limits=limits,
                    stop=stop,
                    on_ready=worker.on_ready,
                )
        if beating is not None:
            beating.cancel()

    limits = _within_open_files(replace(LIMITS, connections_per_peer=connections_per_address, memory=connection_memory))
    with tracing("scopewright-issuer") as traces, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


async def _beat(beat: Callable[[], None]) -> None:
    while True:
        beat()
        await asyncio.sleep(BEAT_EVERY)


def _within_open_files(limits: HttpLimits) -> HttpLimits:
    """Each connection is an open file, and many systems allow a process no more than 1,024 unless it asks.

    Where they do not allow as many as the limits do, there are fewer connections: `accept` must never fail.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.most_connections + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, allowed - _OTHER_FILES))


async def _until_ready(issuer: Issuer, stop: asyncio.Event) -> None:
    """What the other workers can serve must not meet one that cannot yet."""
    waiting = [asyncio.create_task(issuer.ready()), asyncio.create_task(stop.wait())]
    await asyncio.wait(waiting, timeout=_ALONE, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
