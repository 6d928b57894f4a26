"""Calls an ASGI application with an `HttpRequest`. There is no second server: bodies are complete before the call."""

from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp

from scopewright.issuer.protocol.responses import Answer, HttpRequest

_Message = MutableMapping[str, Any]


async def call(app: ASGIApp, http: HttpRequest, path: str) -> Answer:
    """Return the application's answer. `path` is that of the request below the issuer's."""
    status, headers, parts = 500, [], list[bytes]()

    async def receive() -> _Message:
        return {"type": "http.request", "body": http.body, "more_body": False}

    async def send(message: _Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], [*message.get("headers", ())]
        else:
            parts.append(message.get("body", b""))

    await app(_scope(http, path), receive, send)
    # The server writes the length itself.
    kept = tuple((name, value) for name, value in headers if name != b"content-length")
    return Answer(status, kept, b"".join(parts), secret=True)


def _scope(http: HttpRequest, path: str) -> _Message:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": http.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": http.query,
        "headers": [*http.headers.items()],
        "client": (http.peer, 0),
        "server": None,
    }
