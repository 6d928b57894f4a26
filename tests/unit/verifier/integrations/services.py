"""The service of `service.py` in each framework. A new integration is one function more in `SERVICES`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any, Final

import flask
from fastapi import APIRouter, FastAPI, Request, Security
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import Response as LitestarResponse
from litestar import get as litestar_get
from litestar.logging import LoggingConfig
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from scopewright.verifier import Token, Verifier, asgi, wsgi
from scopewright.verifier import fastapi as for_fastapi
from scopewright.verifier import flask as for_flask
from tests.unit.verifier.integrations.aiohttp_server import aiohttp_service
from tests.unit.verifier.integrations.django_service import django_service
from tests.unit.verifier.integrations.service import ANY_OF, BASE_URL, OPTIONAL, PUBLIC, ROLES, Record, Service, caller
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService

METHODS: Final = ["GET", "POST", "DELETE"]


# Starlette, and Litestar, behind the ASGI middleware


def starlette_app(record: Record) -> Any:
    async def view(request: StarletteRequest) -> Response:
        path = request.url.path
        if path == "/write":
            asgi.require(request, "payroll.write")
        elif path == "/audit":
            asgi.require(request, any_of=ANY_OF, roles=ROLES)
        elif path.startswith("/salaries/"):
            asgi.require(request, "payroll.read")
        record.seen.append(request.scope["path"])
        if path == "/broken":
            raise ZeroDivisionError
        return PlainTextResponse(caller(asgi.current_token(request)))

    async def on_error(request: StarletteRequest, error: Exception) -> Response:
        record.errors.append(repr(error))
        return JSONResponse({}, 500)

    return Starlette(routes=[Route("/{path:path}", view, methods=METHODS)], exception_handlers={Exception: on_error})


def litestar_app(record: Record) -> Any:
    @litestar_get(["/", "/{path:path}"])
    async def view(request: LitestarRequest[Any, Any, Any]) -> str:
        path = request.scope["path"]
        if path == "/write":
            asgi.require(request, "payroll.write")
        elif path == "/audit":
            asgi.require(request, any_of=ANY_OF, roles=ROLES)
        elif path.startswith("/salaries/"):
            asgi.require(request, "payroll.read")
        record.seen.append(path)
        if path == "/broken":
            raise ZeroDivisionError
        return caller(asgi.current_token(request))

    def on_error(request: Any, error: Exception) -> Any:
        record.errors.append(repr(error))
        return LitestarResponse({}, status_code=500)

    logging = LoggingConfig(configure_root_logger=False)
    return Litestar([view], exception_handlers={Exception: on_error}, logging_config=logging, openapi_config=None)


def behind_asgi(app: Callable[[Record], Any]) -> Callable[[Verifier], AbstractContextManager[Service]]:
    def service(verifier: Verifier) -> AbstractContextManager[Service]:
        record = Record()
        protected = asgi.protect(
            app(record), verifier, public=PUBLIC, optional=OPTIONAL, base_url=BASE_URL, resource_metadata=True
        )
        return nullcontext(AsgiService(protected, record))

    return service


# Plain WSGI


def wsgi_app(record: Record) -> Any:
    def app(environ: Any, start_response: Any) -> Any:
        path = environ["PATH_INFO"]
        if path == "/write":
            wsgi.require(environ, "payroll.write")
        elif path == "/audit":
            wsgi.require(environ, any_of=ANY_OF, roles=ROLES)
        start_response("200 OK", [("Content-Type", "text/plain")])
        if path.startswith("/salaries/"):
            wsgi.require(environ, "payroll.read")
        record.seen.append(path)
        yield caller(wsgi.current_token(environ)).encode()

    return app


def plain_wsgi(raw_uri: bool) -> Callable[[Verifier], AbstractContextManager[Service]]:
    def service(verifier: Verifier) -> AbstractContextManager[Service]:
        record = Record()
        protected = wsgi.protect(
            wsgi_app(record), verifier, public=PUBLIC, optional=OPTIONAL, base_url=BASE_URL, resource_metadata=True
        )
        return nullcontext(WsgiService(protected, record, raw_uri=raw_uri))

    return service


# FastAPI


def fastapi_service(verifier: Verifier) -> AbstractContextManager[Service]:
    record = Record()
    auth = for_fastapi.TokenAuth(verifier, base_url=BASE_URL, resource_metadata=True)
    app = FastAPI(openapi_url=None)
    api = APIRouter(dependencies=[Security(auth)])

    def seen(request: Request) -> None:
        record.seen.append(request.scope["path"])

    @app.get("/healthz")
    @app.get("/assets/{name}")
    @app.get("/assets/a/{name}")
    async def public(request: Request) -> str:
        record.seen.append(request.scope["path"].removesuffix("\n"))  # which Starlette's routes ignore
        return "anonymous"

    @app.get("/maybe")
    async def maybe(request: Request, token: Annotated[Token | None, Security(auth.optional)]) -> str:
        seen(request)
        return caller(token)

    @api.api_route("/salaries/{path:path}", methods=METHODS)
    async def salaries(request: Request, token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> str:
        seen(request)
        return caller(token)

    @api.get("/write")
    def write(request: Request, token: Annotated[Token, Security(auth, scopes=["payroll.write"])]) -> str:
        seen(request)
        return caller(token)

    @api.get("/audit")
    def audit(request: Request, token: Annotated[Token, Security(auth.require(any_of=ANY_OF, roles=ROLES))]) -> str:
        seen(request)
        return caller(token)

    @api.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    @api.api_route("/{path:path}", methods=METHODS)
    def other(request: Request) -> str:
        seen(request)
        return "other"

    @app.exception_handler(Exception)
    async def on_error(request: Request, error: Exception) -> JSONResponse:
        record.errors.append(repr(error))
        return JSONResponse({}, 500)

    app.include_router(api)
    auth.add_metadata_route(app)
    return nullcontext(AsgiService(app, record))


# Flask


@contextmanager
def flask_service(verifier: Verifier) -> Iterator[Service]:
    record = Record()
    auth = for_flask.TokenAuth(verifier, public=PUBLIC, optional=OPTIONAL, base_url=BASE_URL, resource_metadata=True)
    app = flask.Flask(__name__, static_folder=None)
    auth.init_app(app)

    def seen() -> str:
        record.seen.append(flask.request.path)
        return caller(for_flask.current_token())

    @app.route("/salaries/<path:path>", methods=METHODS)
    @auth.require("payroll.read")
    def salaries(path: str) -> str:
        return seen()

    @app.get("/write")
    @auth.require("payroll.write")
    async def write() -> str:
        return seen()

    @app.get("/audit")
    @auth.require(any_of=ANY_OF, roles=ROLES)
    def audit() -> str:
        return seen()

    @app.get("/broken")
    def broken() -> str:
        raise ZeroDivisionError

    @app.get("/")
    @app.route("/<path:path>", methods=METHODS)
    def other(path: str = "") -> str:
        return seen()

    def on_error(sender: Any, exception: Exception, **_: Any) -> None:
        record.errors.append(repr(exception))

    with flask.got_request_exception.connected_to(on_error, app):
        yield WsgiService(app, record)


SERVICES: Final[dict[str, Callable[[Verifier], AbstractContextManager[Service]]]] = {
    "starlette": behind_asgi(starlette_app),
    "litestar": behind_asgi(litestar_app),
    "fastapi": fastapi_service,
    "wsgi": plain_wsgi(raw_uri=True),
    "wsgi without RAW_URI": plain_wsgi(raw_uri=False),
    "flask": flask_service,
    "aiohttp": aiohttp_service,
    "django over WSGI": django_service(asynchronous=False),
    "django over ASGI": django_service(asynchronous=True),
}
