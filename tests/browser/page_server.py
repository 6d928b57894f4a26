"""Serves pages on loopback, with the Content-Security-Policy of the issuer."""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from scopewright.issuer.users.pages import Page
from scopewright.issuer.users.rendering import STYLE_SOURCE, render


class PageServer:
    """A context manager: each page is at `url/<name>`."""

    def __init__(self, pages: Mapping[str, Page]) -> None:
        content = {f"/{name}": render(page) for name, page in pages.items()}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = content.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Security-Policy", f"default-src 'none'; style-src {STYLE_SOURCE}")
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "PageServer":
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
