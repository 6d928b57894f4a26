"""An HTTP server on loopback, in threads of its own, whose answers are a function of the test."""

import socket
import ssl
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.harness.openid_replies import Behaviour, Received


class ScriptedServer:
    """A context manager. With `certificate`, a PEM certificate and its key, it serves https. Its port is bound, and
    `origin` is known, from the start; it must be entered.
    """

    def __init__(
        self, respond: Behaviour, host: str = "127.0.0.1", certificate: tuple[bytes, bytes] | None = None
    ) -> None:
        self._server = _Server((host, 0), respond)
        if certificate is not None:
            self._server.socket = _context(certificate).wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        in_url = f"[{host}]" if ":" in host else host
        self.origin = f"{'http' if certificate is None else 'https'}://{in_url}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        if error is None and self._server.errors:
            raise self._server.errors[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, address: tuple[str, int], respond: Behaviour) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.respond = respond
        self.closing = threading.Event()
        self.errors: list[Exception] = []
        """Of `respond`."""
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side may end a connection at any time, which is not a mistake."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        self._reply(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._reply(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # its name in the base class
        pass

    def _reply(self, encoded: str) -> None:
        parameters = dict(parse_qsl(encoded, keep_blank_values=True))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            reply = self.server.respond(Received(self.command, urlsplit(self.path).path, parameters, headers))
        except Exception as error:
            self.server.errors.append(error)
            raise
        if reply.delay:
            self.server.closing.wait(reply.delay)
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for part in [reply.body] if not reply.pause else map(bytes, zip(reply.body, strict=True)):
            self.wfile.write(part)
            self.server.closing.wait(reply.pause)


def _context(certificate: tuple[bytes, bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "both.pem")
        file.write_bytes(b"".join(certificate))
        context.load_cert_chain(file)
    return context
