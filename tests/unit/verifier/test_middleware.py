"""The middleware: a valid token reaches the application, everything else gets a response."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from scopewright.verifier import RequireToken, TokenRejected, Verifier, protect, require
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token

WEB = FakeIssuer(KEY)


def new_verifier(web: FakeIssuer = WEB) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, http=web.async_client(), clock=Clock())


async def read(request: Request) -> Response:
    return JSONResponse({"client": require(request, "payroll.read").client_id})


async def write(request: Request) -> Response:
    require(request, "payroll.write")
    return PlainTextResponse("written")


def write_in_thread(request: Request) -> Response:
    require(request.scope, "payroll.write")
    return PlainTextResponse("written")


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


async def broken(request: Request) -> Response:
    raise ZeroDivisionError


async def tolerant(request: Request) -> Response:
    try:
        require(request, "payroll.write")
    except TokenRejected:
        return PlainTextResponse("without")
    return PlainTextResponse("with")


async def tolerant_and_broken(request: Request) -> Response:
    await tolerant(request)
    raise ZeroDivisionError


async def socket(websocket: WebSocket) -> None:
    if websocket.query_params.get("accept"):
        await websocket.accept()
    require(websocket, "payroll.write")


ROUTES = [
    Route("/read", read),
    Route("/write", write, methods=["GET", "POST"]),
    Route("/thread", write_in_thread),
    Route("/healthz", health),
    Route("/public", write),
    Route("/broken", broken),
    Route("/tolerant", tolerant),
    Route("/tolerant-and-broken", tolerant_and_broken),
    Mount("/mounted", routes=[Route("/write", write)]),
    WebSocketRoute("/socket", socket),
]
PUBLIC = ("/healthz", "/public")


def outside() -> Any:
    return protect(Starlette(routes=ROUTES), new_verifier(), public=PUBLIC)


def outside_debug() -> Any:
    return protect(Starlette(routes=ROUTES, debug=True), new_verifier(), public=PUBLIC)


def inside() -> Any:
    middleware = [Middleware(RequireToken, verifier=new_verifier(), public=PUBLIC)]
    return Starlette(routes=ROUTES, middleware=middleware)


@pytest.fixture(params=[outside, outside_debug, inside])
def app(request: pytest.FixtureRequest) -> Any:
    return request.param()


async def get(app: Any, path: str, *sent: str, query: str = "") -> httpx.Response:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path + query, headers=[("Authorization", value) for value in sent])


async def test_valid_token_reaches_the_route(app: Any) -> None:
    answer = await get(app, "/read", f"Bearer {token()}")
    assert (answer.status_code, answer.json()) == (200, {"client": "leave.leave-worker"})


async def test_missing_token_is_401_without_an_error_code(app: Any) -> None:
    answer = await get(app, "/read")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "error" not in answer.json()
    assert answer.headers["cache-control"] == "no-store"


async def test_invalid_token_is_401_invalid_token(app: Any) -> None:
    for sent in (token(exp=1), "garbage", token(aud="x")):
        answer = await get(app, "/read", f"Bearer {sent}")
        assert answer.status_code == 401
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
        assert answer.json()["error"] == "invalid_token"
        assert sent not in answer.text + str(answer.headers)


@pytest.mark.parametrize("path", ["/write", "/thread", "/mounted/write"])
async def test_missing_scope_of_a_route_is_403_with_the_scope(app: Any, path: str) -> None:
    answer = await get(app, path, f"Bearer {token(scope='payroll.read')}")
    assert answer.status_code == 403
    assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
    assert answer.headers["www-authenticate"].endswith('scope="payroll.write"')
    assert answer.json()["scope"] == "payroll.write"
    assert (await get(app, path, f"Bearer {token(scope='payroll.write')}")).text == "written"


async def test_token_sent_twice_is_400(app: Any) -> None:
    twice = await get(app, "/read", f"Bearer {token()}", f"Bearer {token()}")
    both = await get(app, "/read", f"Bearer {token()}", query="?access_token=x")
    for answer in (twice, both):
        assert answer.status_code == 400
        assert 'error="invalid_request"' in answer.headers["www-authenticate"]


async def test_public_path_needs_no_token_and_no_other_path_is_public(app: Any) -> None:
    assert (await get(app, "/healthz")).text == "ok"
    for path in ("//healthz", "/Healthz", "/healthz/../read", "/healthzx", "/read/..%2fhealthz"):
        assert (await get(app, path)).status_code == 401


async def test_a_scope_required_on_a_public_path_is_refused_with_401(app: Any) -> None:
    assert (await get(app, "/public")).status_code == 401


async def test_route_may_catch_a_refusal(app: Any) -> None:
    assert (await get(app, "/tolerant", f"Bearer {token()}")).text == "without"


@pytest.mark.parametrize("path", ["/broken", "/tolerant-and-broken"])
async def test_exception_of_the_application_is_500_without_a_challenge(app: Any, path: str) -> None:
    answer = await get(app, path, f"Bearer {token()}")
    assert answer.status_code == 500
    assert "www-authenticate" not in answer.headers


async def test_scopes_of_the_middleware_are_required_on_every_route() -> None:
    app = protect(Starlette(routes=ROUTES), new_verifier(), ["payroll.write"])
    assert (await get(app, "/read", f"Bearer {token(scope='payroll.read')}")).status_code == 403
    assert (await get(app, "/read", f"Bearer {token(scope='payroll.read payroll.write')}")).status_code == 200


async def test_unavailable_keys_are_503_with_retry_after(caplog: pytest.LogCaptureFixture) -> None:
    web = FakeIssuer(KEY)
    web.unavailable = True
    with caplog.at_level(logging.WARNING, "scopewright.verifier"):
        answer = await get(protect(Starlette(routes=ROUTES), new_verifier(web)), "/read", f"Bearer {token()}")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"] == "temporarily_unavailable"
    assert "ConnectError" in caplog.text


async def test_challenge_has_the_realm_if_it_is_set() -> None:
    answer = await get(protect(Starlette(routes=ROUTES), new_verifier(), realm="payroll"), "/read")
    assert answer.headers["www-authenticate"] == 'Bearer realm="payroll"'


@pytest.mark.parametrize("realm", ["Gehälter", 'a"b', "a\r\nX-Other: 1", 5])
def test_realm_that_a_challenge_cannot_contain_is_refused(realm: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="realm must be"):
        protect(Starlette(routes=ROUTES), new_verifier(), realm=realm)


async def test_require_without_the_middleware_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError, match="RequireToken"):
        require({"type": "http"}, "payroll.read")


async def connect(app: Any, *, sent: str | None, denial: bool = False, query: bytes = b"") -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"authorization", b"Bearer " + sent.encode())] if sent else []
    scope = {
        "type": "websocket",
        "path": "/socket",
        "query_string": query,
        "headers": headers,
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}} if denial else {},
    }
    await app(scope, receive, send)
    return answers


async def test_a_websocket_without_a_token_is_closed_with_1008() -> None:
    assert [m["code"] for m in await connect(outside(), sent=None)] == [1008]


async def test_websocket_is_denied_with_401_if_the_server_supports_it() -> None:
    start, body = await connect(outside(), sent=None, denial=True)
    assert start["status"] == 401
    assert (b"www-authenticate", b"Bearer") in start["headers"]
    assert json.loads(body["body"])["error_description"]


async def test_a_websocket_that_lacks_a_scope_is_refused_before_and_after_it_is_accepted() -> None:
    assert (await connect(outside(), sent=token(), denial=True))[0]["status"] == 403
    assert [m["type"] for m in await connect(outside(), sent=token(), query=b"accept=1")] == [
        "websocket.accept",
        "websocket.close",
    ]


async def test_lifespan_passes_and_an_unknown_scope_type_is_refused() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        seen.append(scope["type"])

    async def nothing(*_: Any) -> Any:
        return {}

    guarded = protect(app, new_verifier())
    await guarded({"type": "lifespan"}, nothing, nothing)
    with pytest.raises(RuntimeError, match="cannot carry a token"):
        await guarded({"type": "webtransport"}, nothing, nothing)
    assert seen == ["lifespan"]
