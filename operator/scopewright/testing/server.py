"""Serves the endpoints of a fake issuer over HTTP on loopback, in threads."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import httpx

Answer = Callable[[httpx.Request], httpx.Response]

_MAX_BODY_BYTES: Final = 256 * 1024
_TIMEOUT_SECONDS: Final = 10.0


@contextmanager
def serving(answer: Answer, port: int, prepare: Callable[[str], None]) -> Iterator[str]:
    """The URL of the server, which is stopped at the end. Port 0: a free one. Raises OSError if `port` is in use.

    `prepare` is called with the URL before the port is open: who waits for the port finds all that it has done.
    """
    with _Server(("127.0.0.1", port), _handler(answer)) as server:
        server.server_bind()
        url = f"http://127.0.0.1:{server.server_port}"
        prepare(url)
        server.server_activate()
        thread = threading.Thread(
            target=server.serve_forever, args=(0.05,), name="scopewright-fake-issuer", daemon=True
        )
        thread.start()
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    """Closes the connections that clients keep open: a closed issuer answers nothing."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(address, handler, bind_and_activate=False)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            with suppress(OSError):  # its thread has closed it
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints a traceback, but not for a client that closed its connection."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler(answer: Answer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "scopewright-fake-issuer"
        timeout = _TIMEOUT_SECONDS

        def do_GET(self) -> None:
            self._answer(b"")

        def do_HEAD(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            length = self.headers.get("content-length", "")
            if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
                self.close_connection = True
                self.send_error(411 if not length else 413)
                return
            self._answer(self.rfile.read(int(length)))

        def _answer(self, body: bytes) -> None:
            url = f"http://127.0.0.1:{self.connection.getsockname()[1]}{self.path}"
            headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
            try:
                request = httpx.Request(self.command, url, headers=headers, content=body)
            except httpx.InvalidURL:
                self.send_error(400)
                return
            response = answer(request)
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # named by the standard library
            """Tests print what they need."""

    return Handler
