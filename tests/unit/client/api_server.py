"""An API on a real port of loopback. It checks tokens and proofs, and keeps what was sent to it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from scopewright.verifier.proof import BadProof, DpopProof, check_proof


@dataclass(frozen=True)
class SentRequest:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def token(self) -> str | None:
        return self.headers["authorization"].partition(" ")[2] if "authorization" in self.headers else None

    @property
    def has_token_or_proof(self) -> bool:
        return self.headers.get("authorization", "").startswith(("Bearer", "DPoP")) or "dpop" in self.headers


class ApiServer:
    """Accepts the tokens in `good`, or all if it is None. `/to/…` redirects to `location`. Proofs must be valid for the
    method and URL, fresh, unused, and have the `nonce` if it is set. `failures` are answered first.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.good: set[str] | None = None
        self.nonce: str | None = None
        self.location = ""
        self.redirect_status = 307
        self.failures: list[int] = []
        self.sent: list[SentRequest] = []
        self.proofs: list[DpopProof] = []

    @property
    def tokens(self) -> list[str | None]:
        return [request.token for request in self.sent]

    def answer(self, request: SentRequest) -> tuple[int, dict[str, str]]:
        self.sent.append(request)
        if self.failures:
            return self.failures.pop(0), {}
        scheme = request.headers.get("authorization", "").partition(" ")[0]
        headers = {"DPoP-Nonce": self.nonce} if self.nonce else {}
        if scheme == "DPoP" and (refusal := self._refusal(request)):
            return 401, headers | {"WWW-Authenticate": f'DPoP error="{refusal}"'}
        if self.good is not None and request.token not in self.good:
            return 401, headers | {"WWW-Authenticate": f'{scheme or "Bearer"} error="invalid_token"'}
        if "/to/" in request.path:
            return self.redirect_status, headers | {"Location": self.location}
        return 200, headers

    def _refusal(self, request: SentRequest) -> str | None:
        try:
            proof = check_proof(
                [request.headers.get("dpop", "")],
                method=request.method, url=self.url + request.path, now=time.time(), leeway=5.0, token=request.token,
            )  # fmt: skip
        except BadProof:
            return "invalid_dpop_proof"
        if proof.jti in {earlier.jti for earlier in self.proofs}:
            return "invalid_dpop_proof"
        self.proofs.append(proof)
        return "use_dpop_nonce" if proof.nonce != self.nonce else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    api: ApiServer

    def respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.api.answer(SentRequest(self.command, self.path, headers, self._body()))
        self.send_response(status)
        for name, value in answer.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"salaries")

    do_GET = do_POST = respond  # noqa: N815

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 256


@contextmanager
def api_server(kind: Callable[[str], ApiServer] = ApiServer) -> Iterator[ApiServer]:
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        handler.api = kind(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True).start()
        try:
            yield handler.api  # type: ignore[attr-defined]
        finally:
            server.shutdown()
