"""Serve the gateway over HTTP, and finish requests in progress when it stops."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from scopewright.gateway.answers import json_answer
from scopewright.gateway.build import build_gateway
from scopewright.gateway.metrics import GatewayCounters
from scopewright.gateway.service import Gateway
from scopewright.gateway.settings import GatewaySettings
from scopewright.http import Answer, Certificate, HttpLimits
from scopewright.serving import audit
from scopewright.serving.process import run_process, serve_requests, served_probes, until_ready, within_open_files
from scopewright.serving.replay import ReplayStore
from scopewright.serving.workers import Worker
from scopewright.stores import Reader
from scopewright.tracing import Tracing

LIMITS: Final = HttpLimits(target=16 * 1024, headers=64 * 1024, header_count=256, connections_per_peer=None)
"""A request of a proxy has the target and the headers of the caller's besides its own: what the proxy accepts, the
gateway must read. A proxy is one address with many connections."""


async def serve_gateway(
    gateway: Gateway,
    *,
    listener: socket.socket,
    certificate: Certificate | None = None,
    limits: HttpLimits = LIMITS,
    stop: asyncio.Event | None = None,
    on_ready: Callable[[], None] = lambda: None,
    before_answers: Callable[[], None] = lambda: None,
) -> None:
    """Serve a running gateway until `stop` is set or the task is cancelled, then close the listener."""

    async def announce() -> None:
        await gateway.readiness.wait()
        on_ready()

    await serve_requests(
        gateway.decide,
        transport_refusal,
        gateway.metrics.connections,
        announce,
        listener=listener,
        limits=limits,
        certificate=certificate,
        stop=stop,
        before_answers=before_answers,
    )


def transport_refusal(status: int, description: str) -> Answer:
    """A refusal of the HTTP server, in the form of the gateway's own."""
    error = "temporarily_unavailable" if status >= 500 else "invalid_request"
    return json_answer(status, {"error": error, "error_description": description})


def run(
    open_store: Callable[[], AbstractAsyncContextManager[Reader]],
    settings: GatewaySettings,
    worker: Worker,
    *,
    counters: GatewayCounters,
    url: str,
    certificate: Certificate | None = None,
    limits: HttpLimits = LIMITS,
    replay: ReplayStore | None = None,
    sink: audit.Sink = audit.to_log,
) -> None:
    """Serve in this process until SIGTERM or SIGINT. `url` is announced when the gateway is ready."""

    async def main(stop: asyncio.Event, traces: Tracing | None) -> None:
        async with open_store() as store:
            built = build_gateway(
                settings, store, replay=replay, counters=counters, worker=worker.index, sink=sink, tracing=traces
            )
            listener = worker.observe() if worker.observe else None
            async with built.running() as gateway, served_probes(gateway.observe, transport_refusal, listener):
                if not worker.is_only_worker:
                    await until_ready(gateway.readiness.wait(), stop)
                await serve_gateway(
                    gateway,
                    listener=worker.listen(),
                    certificate=certificate,
                    limits=allowed,
                    stop=stop,
                    on_ready=lambda: worker.on_ready(url),
                    before_answers=audit.flush_of(sink),
                )

    allowed = within_open_files(limits)
    try:
        run_process(main, worker, "scopewright-gateway")
    finally:
        audit.flush_of(sink)()
