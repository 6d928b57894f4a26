"""Each application behind real servers, which read the bytes of a request in their own way."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import uvicorn
import werkzeug.serving

from tests.unit.verifier.integrations.aiohttp_server import SocketService
from tests.unit.verifier.integrations.service import Record, Service, bearer, is_public, new_verifier
from tests.unit.verifier.integrations.services import SERVICES
from tests.unit.verifier.integrations.test_paths import TRICKS
from tests.unit.verifier.support import token

ASGI: Final = ("starlette", "litestar", "fastapi", "django over ASGI")
WSGI: Final = ("wsgi", "flask", "django over WSGI")
SERVED: Final = [
    *((name, server) for name in ASGI for server in ("uvicorn with h11", "uvicorn with httptools")),
    *((name, server) for name in WSGI for server in ("wsgiref", "werkzeug")),
]


class SilentHandler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wsgi_server(app: Any, server: str) -> Iterator[int]:
    serving: Any
    if server == "wsgiref":
        serving = make_server("127.0.0.1", 0, app, handler_class=SilentHandler)
    else:
        serving = werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=serving.serve_forever, args=(0.05,) if server == "wsgiref" else ())
    thread.start()
    try:
        yield serving.server_port
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


@contextmanager
def asgi_server(app: Any, server: str) -> Iterator[int]:
    http: Any = server.removeprefix("uvicorn with ")
    serving = uvicorn.Server(uvicorn.Config(app, http=http, lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serving.run, args=([listening],))
        thread.start()
        try:
            while not serving.started:
                time.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            serving.should_exit = True
            thread.join()


@pytest.fixture(params=SERVED, ids=lambda each: f"{each[0]} on {each[1]}")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    name, server = request.param
    with SERVICES[name](new_verifier()) as built:
        app: Any = built
        with (asgi_server if name in ASGI else wsgi_server)(app.app, server) as port:
            yield SocketService(port, built.record)


def outcome(service: Service, target: str, headers: Any = ()) -> tuple[int | None, Record]:
    """The status; None if the server closes the connection, or answers without one, as in HTTP/0.9."""
    try:
        return service.send(target, headers).status, service.record
    except (IndexError, ValueError, ConnectionError):
        return None, service.record


def test_only_a_valid_token_and_public_paths_reach_a_view(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert outcome(service, "/salaries/7", bearer(token()))[0] == 200
        assert outcome(service, "/healthz")[0] == 200
        service.record.seen.clear()
        for target in TRICKS:
            status, record = outcome(service, target)
            assert status is None or status < 500, target
            assert [path for path in record.seen if not is_public(path)] == [], target
        service.record.seen.clear()
        for headers in ([], bearer("garbage"), bearer(token(exp=1)), [*bearer(token()), *bearer(token())]):
            assert outcome(service, "/salaries/7", headers)[0] in (400, 401)
        mixed = [("Authorization", "Basic YTpi"), *bearer(token())]
        for headers in (mixed, mixed[::-1]):
            assert outcome(service, "/salaries/7", headers)[0] == 400
    assert service.record.seen == []
    assert service.record.errors == []
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
