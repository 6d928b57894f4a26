"""Sends requests to ASGI and WSGI applications in this process, byte for byte as a server passes them on."""

import asyncio
import contextlib
import io
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from tests.unit.verifier.integrations.service import Answer, Headers, Record


class AsgiService:
    """An ASGI application. The scope is that of uvicorn."""

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], record: Record, root_path: str = "") -> None:
        self.record = record
        self.app = app
        self._root_path = root_path

    def send(self, target: str, headers: Headers = (), method: str = "GET") -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "scheme": "http",
            "method": method,
            "path": self._root_path + unquote_to_bytes(path).decode("utf-8", "replace"),
            "raw_path": (self._root_path + path).encode("latin-1"),
            "root_path": self._root_path,
            "query_string": query.encode("latin-1"),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
            "server": ("127.0.0.1", 8000),
            "client": ("127.0.0.1", 40000),
        }
        return asyncio.run(self._handle(scope))

    async def _handle(self, scope: dict[str, Any]) -> Answer:
        sent: list[Any] = []
        received = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            return received.pop() if received else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        with contextlib.suppress(ZeroDivisionError):  # Starlette raises the errors of views again, after the response
            await self.app(scope, receive, send)
        start = sent[0]
        headers = [(name.decode(), value.decode("latin-1")) for name, value in start.get("headers", ())]
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(start["status"], headers, body)


class WsgiService:
    """A WSGI application. The environ is that of gunicorn; without `raw_uri`, that of the standard library."""

    def __init__(
        self,
        app: Callable[[Any, Any], Iterable[bytes]],
        record: Record,
        *,
        raw_uri: bool = True,
        script_name: str = "",
    ) -> None:
        self.record = record
        self.app = app
        self._raw_uri = raw_uri
        self._script_name = script_name

    def send(self, target: str, headers: Headers = (), method: str = "GET") -> Answer:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": self._script_name,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if self._raw_uri:
            environ["RAW_URI"] = self._script_name + target
        for name, value in headers:
            key = "HTTP_" + name.upper().replace("-", "_")
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return self._handle(environ)

    def _handle(self, environ: dict[str, Any]) -> Answer:
        started: list[tuple[str, Headers]] = []
        written: list[bytes] = []

        def start_response(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], None]:
            try:
                assert exc_info is not None or not started, "start_response is called twice without exc_info"
                if exc_info is not None and written:
                    raise exc_info[1].with_traceback(exc_info[2])
                started[:] = [(status, headers)]
            finally:
                exc_info = None
            return written.append

        parts = self.app(environ, start_response)
        try:
            for part in parts:
                assert started
                if part:
                    written.append(part)
        finally:
            getattr(parts, "close", lambda: None)()
        status, headers = started[0]
        return Answer(int(status[:3]), headers, b"".join(written))
