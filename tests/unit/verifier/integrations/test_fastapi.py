"""What is particular to FastAPI: dependencies, the OpenAPI page, websockets and overrides in tests."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import fastapi
import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Security, WebSocket
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from scopewright.verifier import KeysUnavailable, Nonces, Token, TokenRejected
from scopewright.verifier.fastapi import TokenAuth
from tests.unit.verifier.integrations.service import BASE_URL, new_verifier
from tests.unit.verifier.support import FakeIssuer, bound_token, proof, token

READ = {"Authorization": f"Bearer {token()}"}
WRITE = {"Authorization": f"Bearer {token(scope='payroll.write')}"}
BOTH = {"Authorization": f"Bearer {token(scope='payroll.read payroll.write')}"}


async def get(app: Any, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.get(path, headers=headers)


def create_app(auth: TokenAuth, **options: Any) -> FastAPI:
    app = FastAPI(**options)

    @app.get("/read")
    async def read(token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> str:
        return token.client_id

    @app.get("/maybe")
    def maybe(token: Annotated[Token | None, Security(auth.optional, scopes=["payroll.read"])]) -> str:
        return token.client_id if token else "anonymous"

    @app.get("/audit")
    def audit(token: Annotated[Token, Security(auth.require("payroll.write", roles=["auditor"]))]) -> str:
        return token.client_id

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    return app


def test_openapi_has_the_scheme_and_the_scopes_of_each_operation() -> None:
    openapi = create_app(TokenAuth(new_verifier())).openapi()
    (scheme,) = openapi["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"], scheme["bearerFormat"]) == ("http", "bearer", "JWT")
    security = {path: operations["get"].get("security") for path, operations in openapi["paths"].items()}
    assert security == {
        "/read": [{"AccessToken": ["payroll.read"]}],
        "/maybe": [{"AccessToken": ["payroll.read"]}],
        "/audit": [{"AccessToken": ["payroll.write"]}],
        "/healthz": None,
    }


async def test_page_of_the_documentation_is_public_and_uses_the_bearer_scheme() -> None:
    app = create_app(TokenAuth(new_verifier(), scheme_name="Payroll", description="Paste a token."))
    assert (await get(app, "/docs")).status_code == 200
    schemes = (await get(app, "/openapi.json")).json()["components"]["securitySchemes"]
    assert schemes["Payroll"]["description"] == "Paste a token."


async def test_scopes_of_application_router_and_route_are_all_needed() -> None:
    auth = TokenAuth(new_verifier())
    router = APIRouter(dependencies=[Security(auth, scopes=["payroll.write"])])

    @router.get("/both")
    def both(token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> str:
        return token.client_id

    app = FastAPI(dependencies=[Security(auth)])
    app.include_router(router)
    app.add_api_route("/plain", lambda: "plain")
    assert [(await get(app, "/both", headers)).status_code for headers in ({}, READ, WRITE, BOTH)] == [
        401,
        403,
        403,
        200,
    ]
    assert [(await get(app, "/plain", headers)).status_code for headers in ({}, READ)] == [401, 200]


async def test_scope_of_an_outer_dependency_is_needed_too() -> None:
    auth = TokenAuth(new_verifier())

    def caller(token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> str:
        return token.client_id

    app = FastAPI()

    @app.get("/caller")
    def who(name: Annotated[str, Security(caller, scopes=["payroll.write"])]) -> str:
        return name

    assert [(await get(app, "/caller", headers)).status_code for headers in (READ, WRITE, BOTH)] == [403, 403, 200]


async def test_mounted_application_and_middleware_of_the_application() -> None:
    auth = TokenAuth(new_verifier(), base_url=BASE_URL)
    outer = FastAPI()
    outer.mount("/v1", create_app(auth))
    assert (await get(outer, "/v1/read")).status_code == 401
    sent = bound_token()
    headers = {"Authorization": f"DPoP {sent}", "DPoP": proof(sent, htu=f"{BASE_URL}/v1/read")}
    assert (await get(outer, "/v1/read", headers)).json() == "leave.leave-worker"


async def test_proof_is_accepted_by_all_dependencies_of_one_request() -> None:
    auth = TokenAuth(new_verifier(), base_url=BASE_URL)
    app = create_app(
        auth, dependencies=[Security(auth), Security(auth.optional), Depends(auth.require("payroll.read"))]
    )
    sent = bound_token()
    headers = {"Authorization": f"DPoP {sent}", "DPoP": proof(sent, htu=f"{BASE_URL}/read")}
    assert (await get(app, "/read", headers)).status_code == 200
    assert (await get(app, "/read", headers)).status_code == 401


async def test_token_of_a_request_is_not_used_for_another_one_of_the_same_scope() -> None:
    auth = TokenAuth(new_verifier())
    app = create_app(auth)
    answers: list[int] = []

    async def batch(scope: Any, receive: Any, send: Any) -> None:
        async def inner(message: Any) -> None:
            if message["type"] == "http.response.start":
                answers.append(message["status"])

        await app(scope, receive, inner)
        await app({**scope, "headers": [], "path": "/read", "raw_path": b"/read"}, receive, inner)

    scope = {
        "type": "http", "method": "GET", "path": "/read", "raw_path": b"/read", "query_string": b"", "root_path": "",
        "headers": [(b"authorization", READ["Authorization"].encode())],
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    await batch(scope, receive, None)
    assert answers == [200, 401]


async def test_dependency_can_be_overridden_in_a_test() -> None:
    auth = TokenAuth(new_verifier())
    app = create_app(auth)
    fake = new_verifier().verify_sync(token(scope="payroll.read payroll.write", roles=["auditor"], client_id="a.b"))
    app.dependency_overrides[auth] = lambda: fake
    app.dependency_overrides[auth.optional] = lambda: None
    answers = [(await get(app, path)).json() for path in ("/read", "/audit", "/maybe")]
    assert answers == ["a.b", "a.b", "anonymous"]


@pytest.mark.parametrize("kind", [fastapi.HTTPException, HTTPException, TokenRejected, 401])
async def test_handler_of_the_application_gets_the_refusal(kind: Any) -> None:
    app = create_app(TokenAuth(new_verifier()))

    @app.exception_handler(kind)
    async def refused(request: Request, error: Any) -> JSONResponse:
        return JSONResponse({"title": error.detail}, error.status_code, headers=error.headers)

    answer = await get(app, "/read")
    assert (answer.status_code, list(answer.json())) == (401, ["title"])
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_handler_for_an_outage_gets_keys_unavailable() -> None:
    web = FakeIssuer()
    web.unavailable = True
    app = create_app(TokenAuth(new_verifier(web)))

    @app.exception_handler(KeysUnavailable)
    async def later(request: Request, error: KeysUnavailable) -> JSONResponse:
        return JSONResponse({"wait": error.retry_after}, error.status)

    answer = await get(app, "/read", READ)
    assert (answer.status_code, answer.json()) == (503, {"wait": 1})


async def test_unknown_route_is_404_and_public_routes_need_no_token() -> None:
    app = create_app(TokenAuth(new_verifier()))
    assert [(await get(app, path)).status_code for path in ("/nowhere", "/healthz")] == [404, 200]


async def test_responses_to_proofs_have_the_nonce() -> None:
    app = create_app(TokenAuth(new_verifier(nonces=Nonces(b"n" * 32, "payroll")), base_url=BASE_URL))
    sent = bound_token()

    def headers(**claims: Any) -> dict[str, str]:
        return {"Authorization": f"DPoP {sent}", "DPoP": proof(sent, htu=f"{BASE_URL}/read", **claims)}

    refused = await get(app, "/read", headers())
    assert 'error="use_dpop_nonce"' in refused.headers["www-authenticate"]
    accepted = await get(app, "/read", headers(nonce=refused.headers["dpop-nonce"]))
    assert (accepted.status_code, accepted.headers["dpop-nonce"]) == (200, refused.headers["dpop-nonce"])


async def test_verifier_gets_ready_in_the_lifespan() -> None:
    web = FakeIssuer()
    verifier = new_verifier(web)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await verifier.ready()
        yield

    app = create_app(TokenAuth(verifier), lifespan=lifespan)
    with contextlib.suppress(KeysUnavailable):
        async with app.router.lifespan_context(app):
            pass
    assert web.requests != []


# Websockets


def socket_app(**options: Any) -> FastAPI:
    auth = TokenAuth(new_verifier(), **options)
    app = FastAPI(dependencies=[Security(auth)])

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, token: Annotated[Token, Security(auth, scopes=["payroll.read"])]) -> None:
        offered = websocket.scope["subprotocols"]
        await websocket.accept(offered[0] if offered else None)
        await websocket.send_text(token.client_id)

    return app


async def connect(
    app: FastAPI, headers: dict[str, str] | None = None, offered: tuple[str, ...] = (), denial: bool = False
) -> list[Any]:
    answers: list[Any] = []

    async def receive() -> Any:
        if len(answers) == 0:
            return {"type": "websocket.connect"}
        await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        answers.append(message)

    await app(
        {
            "type": "websocket",
            "path": "/socket",
            "raw_path": b"/socket",
            "root_path": "",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "subprotocols": list(offered),
            "extensions": {"websocket.http.response": {}} if denial else {},
        },
        receive,
        send,
    )
    return answers


async def test_websocket_is_accepted_with_a_token() -> None:
    accepted, sent = await connect(socket_app(), READ)
    assert (accepted["type"], sent["text"]) == ("websocket.accept", "leave.leave-worker")


@pytest.mark.parametrize("headers", [None, WRITE, {"Authorization": "Bearer garbage"}])
async def test_websocket_is_closed_with_1008_before_it_is_accepted(headers: dict[str, str] | None) -> None:
    (closed,) = await connect(socket_app(), headers)
    assert (closed["type"], closed["code"]) == ("websocket.close", 1008)
    assert "token" in closed["reason"]


async def test_websocket_is_denied_with_a_response_if_the_server_supports_it() -> None:
    for headers, status in ((None, 401), (WRITE, 403)):
        start, body = await connect(socket_app(), headers, denial=True)
        assert start["status"] == status
        assert b"www-authenticate" in dict(start["headers"])
        assert json.loads(body["body"])["detail"]


async def test_token_of_a_browser_is_taken_from_the_subprotocols_if_enabled() -> None:
    offered = ("chat", f"bearer.scopewright.{token()}")
    accepted, sent = await connect(socket_app(websocket_subprotocol=True), None, offered)
    assert (accepted["subprotocol"], sent["text"]) == ("chat", "leave.leave-worker")
    assert [m["code"] for m in await connect(socket_app(), None, offered)] == [1008]
    assert [m["code"] for m in await connect(socket_app(websocket_subprotocol=True), READ, offered)] == [1008]
    assert [m["code"] for m in await connect(socket_app(websocket_subprotocol=True), None, offered[1:])] == [1008]


async def test_route_does_not_see_the_token_of_a_browser_among_the_subprotocols() -> None:
    auth = TokenAuth(new_verifier(), websocket_subprotocol=True)
    app = FastAPI()

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, token: Annotated[Token, Security(auth)]) -> None:
        await websocket.accept()
        await websocket.send_text(websocket.headers["sec-websocket-protocol"])

    offered = ("chat", f"bearer.scopewright.{token()}")
    _, sent = await connect(app, {"Sec-WebSocket-Protocol": ", ".join(offered)}, offered)
    assert sent["text"] == "chat"


@pytest.mark.parametrize("scopes", ["payroll.read", "payroll.read payroll.write", "read"])
@pytest.mark.parametrize("kind", ["required", "optional"])
def test_text_as_scopes_of_security_is_a_clear_error_for_every_caller(scopes: Any, kind: str) -> None:
    auth, app = TokenAuth(new_verifier()), FastAPI()
    dependency: Any = auth if kind == "required" else auth.optional

    @app.get("/read", dependencies=[Security(dependency, scopes=scopes)])
    def read() -> str:
        return "read"

    for headers in ({}, READ):
        with pytest.raises(TypeError, match=r'scopes= of Security takes a list: write scopes=\["payroll.read"\]'):
            asyncio.run(get(app, "/read", headers))


def test_scopes_of_one_letter_are_scopes() -> None:
    auth, app = TokenAuth(new_verifier()), FastAPI()

    @app.get("/read", dependencies=[Security(auth, scopes=["r", "w"])])
    def read() -> str:
        return "read"

    rw = {"Authorization": f"Bearer {token(scope='r w')}"}
    assert asyncio.run(get(app, "/read", rw)).status_code == 200


@pytest.mark.parametrize("depends", [Security, Depends])
def test_require_that_is_not_called_is_an_error_when_the_route_is_added(depends: Any) -> None:
    auth, app = TokenAuth(new_verifier()), FastAPI()
    with pytest.raises(TypeError, match=r"call require: Security\(auth.require\(...\)\)"):

        @app.get("/read", dependencies=[depends(auth.require)])
        def read() -> str:
            return "read"
