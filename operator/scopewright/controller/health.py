"""`/healthz`, `/readyz` and `/metrics` of the operator."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

Problems = Callable[[], Sequence[str]]
"""What is wrong, a line each; nothing where all is well."""


def health_app(alive: Problems, ready: Problems, registry: CollectorRegistry) -> Starlette:
    def answer(problems: Problems) -> Callable[[Request], Response]:
        def endpoint(_: Request) -> Response:
            found = problems()
            return PlainTextResponse("\n".join(found) or "ok", status_code=503 if found else 200)

        return endpoint

    def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/healthz", answer(alive)),
            Route("/readyz", answer(ready)),
            Route("/metrics", metrics),
        ]
    )


async def serve(app: Starlette, listening: socket.socket) -> None:
    """Until cancelled. Signals are the operator's business, not the server's."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await running
