"""One application for each middleware, with a view for every path, protected by the rules of a set."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, Any, Final

import flask
from aiohttp import web
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import re_path
from fastapi import FastAPI, Request, Security
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import route as litestar_route
from litestar.enums import HttpMethod
from litestar.logging import LoggingConfig
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from scopewright.verifier import Rules, Token, Verifier, asgi, wsgi
from scopewright.verifier import aiohttp as for_aiohttp
from scopewright.verifier import django as for_django
from scopewright.verifier import fastapi as for_fastapi
from scopewright.verifier import flask as for_flask
from tests.rules.vectors import VECTORS
from tests.unit.verifier.django_settings import configure_django
from tests.unit.verifier.integrations.aiohttp_server import SocketService, in_thread
from tests.unit.verifier.integrations.service import Record, Service, caller
from tests.unit.verifier.integrations.transports import AsgiService, WsgiService

METHODS: Final = sorted({vector.method for vector in VECTORS if vector.method.isalpha() and vector.method.isupper()})

LITESTAR_METHODS: Final = [each for each in HttpMethod if each is not HttpMethod.OPTIONS]
"""Litestar answers OPTIONS itself."""

Build = Callable[[Verifier, Rules, str], AbstractContextManager[Service]]
"""The last argument is the prefix that a router has removed: `root_path` or SCRIPT_NAME."""


def starlette_service(verifier: Verifier, rules: Rules, root: str) -> AbstractContextManager[Service]:
    record = Record()

    async def view(request: StarletteRequest) -> Response:
        record.seen.append(request.scope["path"].removeprefix(root))
        return PlainTextResponse(caller(asgi.current_token(request)))

    app = Starlette(routes=[Route("/{path:path}", view, methods=METHODS)])
    return nullcontext(AsgiService(asgi.protect(app, verifier, rules=rules), record, root))


def litestar_service(verifier: Verifier, rules: Rules, root: str) -> AbstractContextManager[Service]:
    record = Record()

    @litestar_route(["/", "/{path:path}"], http_method=LITESTAR_METHODS, status_code=200, media_type="text/plain")
    async def view(request: LitestarRequest[Any, Any, Any]) -> str:
        record.seen.append(request.scope["path"])
        return caller(asgi.current_token(request))

    app = Litestar([view], openapi_config=None, logging_config=LoggingConfig(configure_root_logger=False))
    return nullcontext(AsgiService(asgi.protect(app, verifier, rules=rules), record, root))


def wsgi_service(verifier: Verifier, rules: Rules, root: str) -> AbstractContextManager[Service]:
    record = Record()

    def app(environ: Any, start_response: Any) -> list[bytes]:
        record.seen.append(environ["PATH_INFO"].encode("latin-1").decode())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [caller(wsgi.current_token(environ)).encode()]

    return nullcontext(WsgiService(wsgi.protect(app, verifier, rules=rules), record, script_name=root))


def fastapi_service(verifier: Verifier, rules: Rules, root: str) -> AbstractContextManager[Service]:
    record = Record()
    auth = for_fastapi.TokenAuth(verifier, rules=rules)
    app = FastAPI(openapi_url=None)

    @app.api_route("/{path:path}", methods=METHODS)
    async def view(request: Request, token: Annotated[Token | None, Security(auth.optional)]) -> str:
        record.seen.append(request.scope["path"].removeprefix(root))
        return caller(token)

    return nullcontext(AsgiService(app, record, root))


def flask_service(verifier: Verifier, rules: Rules, root: str) -> AbstractContextManager[Service]:
    record = Record()
    app = flask.Flask(__name__, static_folder=None)
    for_flask.TokenAuth(verifier, rules=rules).init_app(app)

    @app.route("/", methods=METHODS, provide_automatic_options=False)
    @app.route("/<path:path>", methods=METHODS, provide_automatic_options=False)
    def view(path: str = "") -> str:
        record.seen.append(flask.request.path)
        return caller(for_flask.current_token())

    return nullcontext(WsgiService(app, record, script_name=root))


def django_service(asynchronous: bool) -> Build:
    @contextmanager
    def service(verifier: Verifier, rules: Rules, root: str) -> Iterator[Service]:
        record = Record()

        def view(request: HttpRequest) -> HttpResponse:
            record.seen.append(request.path_info)
            return HttpResponse(caller(for_django.current_token(request)))

        async def view_async(request: HttpRequest) -> HttpResponse:
            return view(request)

        urls = type("Urls", (), {"urlpatterns": [re_path("^.*$", view_async if asynchronous else view)]})
        configure_django()
        with override_settings(
            ROOT_URLCONF=urls,
            SCOPEWRIGHT={"verifier": verifier, "rules": rules},
            MIDDLEWARE=["scopewright.verifier.django.TokenMiddleware"],
        ):
            if asynchronous:
                yield AsgiService(get_asgi_application(), record, root)
            else:
                yield WsgiService(get_wsgi_application(), record, script_name=root)

    return service


@contextmanager
def aiohttp_service(verifier: Verifier, rules: Rules, root: str) -> Iterator[Service]:
    record = Record()

    async def view(request: web.Request) -> web.Response:
        record.seen.append(request.path.removeprefix(root))
        return web.Response(text=caller(for_aiohttp.current_token(request)))

    app = outer = web.Application(middlewares=[for_aiohttp.token_middleware(verifier, rules=rules)])
    app.router.add_route("*", "/{path:.*}", view)
    if root:
        outer = web.Application()
        outer.add_subapp(root, app)
    runner = web.AppRunner(outer)
    with in_thread() as run:
        run(runner.setup())
        try:
            run(web.TCPSite(runner, "127.0.0.1", 0).start())
            yield SocketService(runner.addresses[0][1], record)
        finally:
            run(runner.cleanup())


MIDDLEWARE: Final[dict[str, Build]] = {
    "ASGI": starlette_service,
    "Litestar": litestar_service,
    "WSGI": wsgi_service,
    "FastAPI": fastapi_service,
    "Flask": flask_service,
    "Django over WSGI": django_service(asynchronous=False),
    "Django over ASGI": django_service(asynchronous=True),
    "aiohttp": aiohttp_service,
}
