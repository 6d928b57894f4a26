"""A refusal by `require` is a response in every framework: not a logged error, and not handled as one."""

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.core.asgi import get_asgi_application
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path as django_path
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse
from litestar import Litestar, Response
from litestar import Request as LitestarRequest
from litestar import WebSocket as LitestarWebSocket
from litestar import get as litestar_get
from litestar import websocket as litestar_websocket
from litestar.exceptions import HTTPException as LitestarHTTPException
from litestar.logging import LoggingConfig
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware

from scopewright.verifier import Token, TokenRejected, Verifier, protect, require
from tests.harness.clock import Clock
from tests.unit.verifier.django_settings import configure_django
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

errors: list[str] = []
"""Exceptions that error handlers and middleware of the applications got."""


def seen(where: str, error: BaseException | None) -> None:
    errors.append(f"{where}: {error!r}")


class RecordingMiddleware:
    """A middleware inside RequireToken, as error trackers have one."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception as error:
            seen("middleware", error)
            raise


# FastAPI

fastapi_app = FastAPI()


def may_write(request: Request) -> Token:
    return require(request, "payroll.write")


@fastapi_app.get("/write")
@fastapi_app.get("/public")
async def fastapi_write(request: Request) -> str:
    require(request, "payroll.write")
    return "written"


@fastapi_app.get("/depends")
def fastapi_depends(token: Token = Depends(may_write)) -> str:  # noqa: B008
    return "written"


@fastapi_app.get("/broken")
async def fastapi_broken() -> str:
    raise ZeroDivisionError


@fastapi_app.get("/tolerant")
async def fastapi_tolerant(request: Request) -> str:
    try:
        require(request, "payroll.write")
    except TokenRejected:
        return "without"
    return "with"


@fastapi_app.exception_handler(Exception)
async def fastapi_error(request: Request, error: Exception) -> JSONResponse:
    seen("handler", error)
    return JSONResponse({"detail": "error page"}, 500)


async def dispatch(request: Any, call_next: Callable[[Any], Any]) -> Any:
    try:
        return await call_next(request)
    except Exception as error:
        seen("dispatch", error)
        raise


fastapi_app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
fastapi_app.add_middleware(RecordingMiddleware)

# Litestar

LITESTAR_LOGGING = LoggingConfig(configure_root_logger=False)  # the root logger is that of all tests


@litestar_get(["/write", "/depends", "/public"])
async def litestar_write(request: LitestarRequest[Any, Any, Any]) -> str:
    require(request, "payroll.write")
    return "written"


@litestar_get("/broken")
async def litestar_broken() -> str:
    raise ZeroDivisionError


@litestar_get("/tolerant", sync_to_thread=True)
def litestar_tolerant(request: LitestarRequest[Any, Any, Any]) -> str:
    try:
        require(request.scope, "payroll.write")
    except TokenRejected:
        return "without"
    return "with"


def litestar_error(request: Any, error: Exception) -> Any:
    seen("handler", error)
    return Response({"detail": "error page"}, status_code=500)


@litestar_websocket("/socket")
async def litestar_socket(socket: LitestarWebSocket[Any, Any, Any]) -> None:
    await socket.accept()
    require(socket, "payroll.write")


litestar_app = Litestar(
    [litestar_write, litestar_broken, litestar_tolerant, litestar_socket],
    exception_handlers={Exception: litestar_error},
    logging_config=LITESTAR_LOGGING,
    middleware=[lambda app: RecordingMiddleware(app)],
)

# Django


async def django_write(request: HttpRequest) -> HttpResponse:
    require(request, "payroll.write")
    return HttpResponse("written")


def django_sync(request: HttpRequest) -> HttpResponse:
    require(request, "payroll.write")
    return HttpResponse("written")


def django_broken(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def django_tolerant(request: HttpRequest) -> HttpResponse:
    try:
        require(request, "payroll.write")
    except TokenRejected:
        return HttpResponse("without")
    return HttpResponse("with")


urlpatterns = [
    django_path("write", django_write),
    django_path("public", django_write),
    django_path("depends", django_sync),
    django_path("broken", django_broken),
    django_path("tolerant", django_tolerant),
]


def django_application() -> Any:
    configure_django()
    return get_asgi_application()


def django_error(sender: Any, **_: Any) -> None:
    seen("signal", None)


got_request_exception.connect(django_error)


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "fastapi": lambda: fastapi_app,
    "litestar": lambda: litestar_app,
    "django": django_application,
}


@pytest.fixture(params=sorted(APPLICATIONS))
def app(request: pytest.FixtureRequest) -> Iterator[Any]:
    errors.clear()
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    application = APPLICATIONS[request.param]()
    with override_settings(ROOT_URLCONF=__name__):
        yield protect(application, verifier, public=("/public",))


async def get(app: Any, path: str, sent: str | None) -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {sent}"} if sent else {}
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


@pytest.mark.parametrize("path", ["/write", "/depends"])
async def test_missing_scope_is_a_403_response_and_not_an_error(
    app: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = await get(app, path, token())
    assert answer.status_code == 403
    assert answer.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
    assert answer.json()["scope"] == "payroll.write"
    assert answer.headers["content-type"] == "application/json"
    assert errors == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert (await get(app, path, token(scope="payroll.write"))).text.strip('"') == "written"


async def test_missing_token_on_a_public_path_is_401(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        answer = await get(app, "/public", None)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error_description"]
    assert errors == []
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_exception_of_the_application_is_500(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        answer = await get(app, "/broken", token())
    assert answer.status_code == 500
    assert errors != []


async def test_exception_handler_of_a_litestar_application_takes_precedence() -> None:
    def refused(request: Any, error: Any) -> Any:
        return Response({"title": error.detail}, status_code=403, media_type="application/problem+json")

    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    keys: tuple[Any, ...] = (403, TokenRejected, LitestarHTTPException)
    for key in keys:
        own = Litestar(
            [litestar_write], exception_handlers={key: refused, Exception: litestar_error}, logging_config=None
        )
        answer = await get(protect(own, verifier), "/write", token())
        assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


async def test_route_may_catch_a_refusal_and_respond(app: Any) -> None:
    answer = await get(app, "/tolerant", token())
    assert (answer.status_code, answer.text.strip('"')) == (200, "without")


@pytest.mark.parametrize("key", [TokenRejected, HTTPException, 403])
@pytest.mark.parametrize("with_headers", [True, False])
async def test_exception_handler_of_a_fastapi_application_takes_precedence(key: Any, with_headers: bool) -> None:
    own = FastAPI()

    @own.get("/write")
    async def write(request: Request) -> None:
        require(request, "payroll.write")

    @own.exception_handler(key)
    async def refused(request: Request, error: Any) -> JSONResponse:
        headers = error.headers if with_headers else None
        return JSONResponse({"title": error.detail}, error.status, headers, "application/problem+json")

    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    answer = await get(protect(own, verifier), "/write", token())
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert answer.json()["title"].startswith("The access token lacks a scope")
    assert ("www-authenticate" in answer.headers) == with_headers


async def test_dpop_and_bearer_are_both_offered_in_every_framework(app: Any) -> None:
    with_dpop = protect(app.app, app.protection.verifier, public=("/public",), base_url="https://payroll.hr.example")
    answer = await get(with_dpop, "/public", None)
    assert [c.partition(" ")[0] for c in answer.headers.get_list("www-authenticate")] == ["Bearer", "DPoP"]


@pytest.mark.parametrize("request_of", [lambda r: r, lambda r: r.scope])
async def test_refusal_is_an_http_exception_of_the_framework_and_token_rejected(
    request_of: Callable[[Request], Any],
) -> None:
    caught: list[Exception] = []
    own = FastAPI()

    @own.get("/write")
    async def write(request: Request) -> None:
        try:
            require(request_of(request), "payroll.write")
        except TokenRejected as refusal:
            caught.append(refusal)
            raise

    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    await get(protect(own, verifier), "/write", token())
    (refusal,) = caught
    assert isinstance(refusal, HTTPException)
    assert isinstance(refusal, TokenRejected)
    assert type(refusal).__name__ == "TokenRejected"
    assert str(refusal) == refusal.description == refusal.detail
    assert (refusal.status_code, refusal.status, refusal.scope) == (403, 403, "payroll.write")


async def test_litestar_websocket_is_closed_with_1008() -> None:
    errors.clear()
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    received = [{"type": "websocket.connect"}]
    answers: list[Any] = []

    async def receive() -> Any:
        return received.pop(0) if received else {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "websocket",
        "path": "/socket",
        "raw_path": b"/socket",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token()}".encode())],
        "subprotocols": [],
    }
    await protect(litestar_app, verifier)(scope, receive, send)
    assert [(m["type"], m.get("code")) for m in answers] == [("websocket.accept", None), ("websocket.close", 1008)]
    assert json.dumps(answers[-1]["reason"]).startswith('"The access token lacks a scope')
