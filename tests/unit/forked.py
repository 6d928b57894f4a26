"""Forked children, and an issuer on loopback that can delay a response."""

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.unit.verifier.support import KEY

LIMIT = 60.0
"""Seconds that a child may take on a busy machine: long enough for a busy machine."""


def in_child(work: Callable[[], str]) -> str:
    """Run `work` in a child that is forked now. Returns its result, or `<exception>: <message>`."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = work()
        except BaseException as error:
            result = f"{type(error).__name__}: {error}"
        os.write(write, result.encode())
        os._exit(0)
    os.close(write)
    try:
        if not select.select([read], [], [], LIMIT)[0]:
            os.kill(pid, signal.SIGKILL)
            pytest.fail(f"the child has not answered within {LIMIT} s")
        return os.read(read, 65536).decode()
    finally:
        os.close(read)
        os.waitpid(pid, 0)


class SlowIssuer:
    """Metadata, keys and tokens; `requests` counts the requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self.tokens = 0
        self.expires_in = 600
        self.released = threading.Event()
        self._hold_next = False

    @contextmanager
    def busy_with(self, work: Callable[[], object]) -> Iterator[None]:
        """Run `work` in a thread. Its first request gets no response before the end of the block; later ones do."""
        before = self.requests
        self.released.clear()
        self._hold_next = True
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            wait_until(lambda: self.requests > before)
            yield
        finally:
            self.released.set()
            thread.join(LIMIT)

    def answer(self, path: str) -> dict[str, Any]:
        held, self._hold_next = self._hold_next, False
        self.requests += 1
        if held:
            self.released.wait(LIMIT)
        if path == "/token":
            self.tokens += 1
            return {"access_token": f"token-{self.tokens}", "token_type": "Bearer", "expires_in": self.expires_in}
        if path == "/jwks.json":
            return {"keys": [KEY.jwk]}
        if path == "/introspect":
            return {"active": True}
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks.json",
            "token_endpoint": f"{self.url}/token",
            "introspection_endpoint": f"{self.url}/introspect",
        }


def wait_until(done: Callable[[], bool]) -> None:
    """Wait at most LIMIT seconds for the condition."""
    deadline = time.monotonic() + LIMIT
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@contextmanager
def slow_issuer() -> Iterator[SlowIssuer]:
    class Handler(BaseHTTPRequestHandler):
        def respond(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.dumps(issuer.answer(self.path)).encode()
            try:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass

        do_GET = do_POST = respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = SlowIssuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            issuer.released.set()
            server.shutdown()
