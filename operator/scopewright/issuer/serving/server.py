"""Serve the issuer over HTTP, and finish requests in progress when it stops."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Final

from scopewright.http import Answer, Certificate, HttpLimits
from scopewright.issuer.build import IssuerSettings, build_issuer
from scopewright.issuer.protocol.errors import ErrorCode, OAuthError, unavailable
from scopewright.issuer.protocol.request import MAX_BODY_BYTES
from scopewright.issuer.service import Issuer
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.serving import audit
from scopewright.serving.process import run_process, serve_requests, served_probes, until_ready, within_open_files
from scopewright.serving.replay import ReplayStore
from scopewright.serving.workers import OnReady, Worker
from scopewright.stores import ServiceAccountIssuer, Store
from scopewright.tracing import Tracing

LIMITS: Final = HttpLimits(body=MAX_BODY_BYTES)


async def serve_issuer(
    issuer: Issuer,
    *,
    listener: socket.socket,
    certificate: Certificate | None = None,
    limits: HttpLimits = LIMITS,
    stop: asyncio.Event | None = None,
    on_ready: OnReady = lambda url: None,
    before_answers: Callable[[], None] = lambda: None,
) -> None:
    """Serve a running issuer until `stop` is set or the task is cancelled, then close the listener."""

    async def announce() -> None:
        on_ready(await issuer.ready())

    await serve_requests(
        issuer.decide,
        transport_refusal,
        issuer.metrics.connections,
        announce,
        listener=listener,
        limits=limits,
        certificate=certificate,
        stop=stop,
        before_answers=before_answers,
    )


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

    async def main(stop: asyncio.Event, traces: Tracing | None) -> None:
        async with open_store() as store, _closed_at_end(settings.users):
            built = build_issuer(
                replace(settings, writes_snapshot=worker.index == 0),
                store,
                writer=store,
                service_accounts=store if isinstance(store, ServiceAccountIssuer) else None,
                replay=replay,
                counters=worker.counters,
                sink=sink,
                tracing=traces,
            )
            listener = worker.observe() if worker.observe else None
            async with built.running() as issuer, served_probes(issuer.observe, transport_refusal, listener):
                if not worker.is_only_worker:
                    await until_ready(issuer.ready(), stop)
                await serve_issuer(
                    issuer,
                    listener=worker.listen(),
                    certificate=certificate,
                    limits=allowed,
                    stop=stop,
                    on_ready=worker.on_ready,
                    before_answers=audit.flush_of(sink),
                )

    allowed = within_open_files(limits)
    try:
        run_process(main, worker, "scopewright-issuer")
    finally:
        audit.flush_of(sink)()


@asynccontextmanager
async def _closed_at_end(users: UserEndpointSettings | None) -> AsyncIterator[None]:
    """Close the session store after the block, when no request needs it."""
    try:
        yield
    finally:
        if users is not None:
            await users.store.close()
