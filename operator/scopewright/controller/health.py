"""`/healthz`, `/readyz` and `/metrics` of the operator."""

import socket
from collections.abc import Callable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from scopewright.http import PROBES, Answer, Handler, HttpRequest, HttpServer

Problems = Callable[[], Sequence[str]]
"""The problems, a line each; empty if there are none."""


def health(alive: Problems, ready: Problems, registry: CollectorRegistry) -> Handler:
    problems = {"/healthz": alive, "/readyz": ready}

    def answer(http: HttpRequest) -> Answer:
        if http.method not in ("GET", "HEAD"):
            return Answer(405, ((b"allow", b"GET, HEAD"),), b"")
        if http.path == "/metrics":
            return Answer(200, ((b"content-type", CONTENT_TYPE_LATEST.encode()),), generate_latest(registry))
        if http.path not in problems:
            return _text(404, "nothing is served here")
        found = problems[http.path]()
        return _text(503 if found else 200, "\n".join(found) or "ok")

    return answer


async def serve(answer: Handler, listening: socket.socket) -> None:
    """Serve until cancelled."""
    await HttpServer(answer, limits=PROBES).serve(listening)


def _text(status: int, text: str) -> Answer:
    return Answer(status, ((b"content-type", b"text/plain; charset=utf-8"),), text.encode())
