"""What is particular to aiohttp: its HTTP exceptions, sub-applications and websockets."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from scopewright.verifier import Nonces, Verifier
from scopewright.verifier.aiohttp import current_token, require, token_middleware
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, NOW, FakeIssuer, bound_token, proof, token

WORKER = "leave.leave-worker"
BASE_URL = "https://payroll.hr.example"


def verifier_of(issuer: FakeIssuer | None = None, **options: Any) -> Verifier:
    http = (issuer or FakeIssuer(KEY)).async_client()
    return Verifier(ISSUER, AUDIENCE, http=http, clock=Clock(), **options)


async def read(request: web.Request) -> web.Response:
    found = current_token(request)
    return web.json_response({"client": found.client_id if found else None, "path": request.path})


async def write(request: web.Request) -> web.Response:
    require(request, "payroll.write")
    return web.Response(text="written")


async def broken(request: web.Request) -> web.Response:
    raise ZeroDivisionError


async def stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"streamed")
    return response


async def socket(request: web.Request) -> web.WebSocketResponse:
    if request.query.get("scope"):
        require(request, request.query["scope"])
    websocket = web.WebSocketResponse(protocols=("payroll",))
    await websocket.prepare(request)
    await websocket.send_json({"offered": request.headers.getall("Sec-WebSocket-Protocol", [])})
    await websocket.close()
    return websocket


ROUTES = [
    web.get("/read", read),
    web.get("/write", write),
    web.get("/public", write),
    web.get("/healthz", read),
    web.get("/assets/{name}", read),
    web.get("/optional", read),
    web.get("/broken", broken),
    web.get("/stream", stream),
    web.get("/socket", socket),
]
PUBLIC = ("/healthz", "/public", "/assets/**")


def application(*middlewares: Any, routes: Any = ROUTES) -> web.Application:
    app = web.Application(middlewares=middlewares)
    app.add_routes(routes)
    return app


def protected(verifier: Verifier | None = None, **options: Any) -> web.Application:
    return application(token_middleware(verifier or verifier_of(), public=PUBLIC, optional=["/optional"], **options))


@contextlib.asynccontextmanager
async def serving(app: web.Application) -> AsyncIterator[aiohttp.ClientSession]:
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def get(session: aiohttp.ClientSession, path: str, *sent: str, **more: Any) -> tuple[int, Any, str]:
    """Status, headers and body. `sent` are the values of Authorization."""
    async with session.get(path, headers=[("Authorization", value) for value in sent], **more) as answer:
        return answer.status, answer.headers, await answer.text()


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A refusal is no error in any log."""
    with caplog.at_level(logging.INFO):
        yield
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_refusal_has_a_challenge_and_a_json_body() -> None:
    async with serving(protected(realm="payroll")) as session:
        status, headers, body = await get(session, "/read")
        assert (status, headers["WWW-Authenticate"]) == (401, 'Bearer realm="payroll"')
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Type"].startswith("application/json")
        assert "error" not in json.loads(body)
        status, headers, body = await get(session, "/unknown", "Bearer garbage")
        assert (status, json.loads(body)["error"]) == (401, "invalid_token")
        assert 'error="invalid_token"' in headers["WWW-Authenticate"]


async def test_scope_of_a_handler_and_of_the_middleware_is_required() -> None:
    async with serving(protected()) as session:
        status, headers, body = await get(session, "/write", f"Bearer {token()}")
        assert (status, json.loads(body)["scope"]) == (403, "payroll.write")
        assert headers["WWW-Authenticate"].endswith('scope="payroll.write"')
        assert (await get(session, "/write", f"Bearer {token(scope='payroll.write')}"))[2] == "written"
    async with serving(application(token_middleware(verifier_of(), ["payroll.write"]))) as session:
        assert (await get(session, "/read", f"Bearer {token()}"))[0] == 403


async def test_public_path_has_no_token_and_optional_path_only_a_valid_one() -> None:
    async with serving(protected()) as session:
        for sent in ([], ["Bearer garbage"], [f"Bearer {token()}"]):
            assert json.loads((await get(session, "/healthz", *sent))[2])["client"] is None
        assert (await get(session, "/public"))[0] == 401, "require needs a token, also on a public path"
        assert json.loads((await get(session, "/optional"))[2])["client"] is None
        assert json.loads((await get(session, "/optional", f"Bearer {token()}"))[2])["client"] == WORKER
        assert (await get(session, "/optional", "Bearer garbage"))[0] == 401


async def tried(port: int, target: str) -> tuple[int, str]:
    """The response to a request line as it stands, without a token."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: payroll\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return int(answer.split(" ", 2)[1]), answer


async def test_encoded_spelling_that_aiohttp_routes_to_a_public_path_is_public() -> None:
    async with serving(protected()) as session:
        port: Any = session._base_url.port  # type: ignore[union-attr]
        for target in ("/%68ealthz", "http://payroll.example/healthz", "/healthz?access_token=x", "/assets/a%20b"):
            assert (await tried(port, target))[0] == 200, target


async def test_paths_in_a_sub_application_begin_below_its_prefixes() -> None:
    inner = application(token_middleware(verifier_of(), public=["/healthz"]))
    outer = application()
    outer.add_subapp("/v1", inner)
    app = application()
    app.add_subapp("/payroll", outer)
    async with serving(app) as session:
        assert (await get(session, "/payroll/v1/healthz"))[0] == 200
        assert (await get(session, "/payroll/v1/read"))[0] == 401
        assert (await get(session, "/payroll/v1/read", f"Bearer {token()}"))[0] == 200
        assert (await get(session, "/payroll/v1/v1/healthz"))[0] == 401


async def test_paths_of_an_outer_middleware_have_the_prefix_of_a_sub_application() -> None:
    app = application(token_middleware(verifier_of(), public=["/v1/healthz"]))
    app.add_subapp("/v1", application())
    async with serving(app) as session:
        assert (await get(session, "/v1/healthz"))[0] == 200
        assert (await get(session, "/healthz"))[0] == 401


async def test_inner_middleware_decides_which_token_the_handler_has() -> None:
    other = Verifier(ISSUER, "https://other.example", http=FakeIssuer(KEY).async_client(), clock=Clock())
    app = application(token_middleware(other, optional=["/**"]))
    app.add_subapp("/v1", application(token_middleware(verifier_of(), public=["/healthz"])))
    async with serving(app) as session:
        assert (await get(session, "/v1/read"))[0] == 401
        both = f"Bearer {token(aud=[AUDIENCE, 'https://other.example'])}"
        assert json.loads((await get(session, "/v1/healthz", both))[2])["client"] is None
        assert json.loads((await get(session, "/v1/read", both))[2])["client"] == WORKER


async def test_outer_middleware_gets_a_refusal_as_an_http_exception() -> None:
    caught: list[Exception] = []

    @web.middleware
    async def tracking(request: web.Request, handler: Any) -> Any:
        try:
            return await handler(request)
        except web.HTTPException as error:
            caught.append(error)
            raise

    app = application(tracking, token_middleware(verifier_of()))
    async with serving(app) as session:
        await get(session, "/read")
        await get(session, "/write", f"Bearer {token()}")
    assert [type(error) for error in caught] == [web.HTTPUnauthorized, web.HTTPForbidden]


async def test_exception_of_a_handler_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(protected()) as session:
        status, headers, _ = await get(session, "/broken", f"Bearer {token()}")
        assert (status, "WWW-Authenticate" in headers) == (500, False)
    assert any(record.levelno == logging.ERROR for record in caplog.records)
    caplog.clear()


async def test_require_without_the_middleware_is_a_runtime_error(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(application()) as session:
        assert (await get(session, "/write"))[0] == 500
    assert "web.Application(middlewares=[token_middleware(verifier)])" in caplog.text
    caplog.clear()


async def test_handshake_of_a_websocket_is_refused_without_a_token_or_a_scope() -> None:
    async with serving(protected()) as session:
        for path, headers, status in (
            ("/socket", {}, 401),
            ("/socket?scope=payroll.write", {"Authorization": f"Bearer {token()}"}, 403),
            ("/socket", {"Sec-WebSocket-Protocol": f"bearer.scopewright.{token()}, payroll"}, 401),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(path, headers=headers)
            assert refused.value.status == status
            assert refused.value.headers is not None
            assert refused.value.headers["WWW-Authenticate"].startswith("Bearer")
        async with session.ws_connect("/socket", headers={"Authorization": f"Bearer {token()}"}) as websocket:
            assert (await websocket.receive()).type is WSMsgType.TEXT


async def test_websocket_may_send_its_token_as_a_subprotocol() -> None:
    async with serving(protected(websocket_subprotocol=True)) as session:
        offered = (f"bearer.scopewright.{token()}", "payroll")
        async with session.ws_connect("/socket?scope=payroll.read", protocols=offered) as websocket:
            assert websocket.protocol == "payroll"
            assert await websocket.receive_json() == {"offered": ["payroll"]}
        for wrong, status in (
            (("bearer.scopewright.garbage", "payroll"), 401),
            ((f"bearer.scopewright.{token()}",), 400),
            ((f"bearer.scopewright.{token()}", "bearer.scopewright.x", "payroll"), 400),
        ):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect("/socket", protocols=wrong)
            assert refused.value.status == status
        status, *_ = await get(session, "/read")
        assert status == 401
        async with session.get("/read", headers={"Sec-WebSocket-Protocol": ", ".join(offered)}) as answer:
            assert answer.status == 401, "only of a websocket"


async def test_dpop_is_accepted_at_the_url_below_the_base_url() -> None:
    nonces = Nonces(bytes(32), "test")
    inner = token_middleware(verifier_of(nonces=nonces), base_url=BASE_URL)
    app = application()
    app.add_subapp("/v1", application(inner))
    async with serving(app) as session:
        bound = bound_token()
        nonce = nonces.current(NOW)
        good = {"DPoP": proof(bound, htu=f"{BASE_URL}/v1/read", nonce=nonce)}
        async with session.get("/v1/read", headers={"Authorization": f"DPoP {bound}", **good}) as answer:
            assert (answer.status, answer.headers["DPoP-Nonce"]) == (200, nonce)
        other = {"DPoP": proof(bound, htu=f"{BASE_URL}/v1/other", nonce=nonce)}
        async with session.get("/v1/read", headers={"Authorization": f"DPoP {bound}", **other}) as answer:
            assert answer.status == 401
            challenges = [value.partition(" ")[0] for value in answer.headers.getall("WWW-Authenticate")]
            assert (challenges, answer.headers["DPoP-Nonce"]) == (["Bearer", "DPoP"], nonce)
        streamed = {"DPoP": proof(bound, htu=f"{BASE_URL}/v1/stream", nonce=nonce)}
        async with session.get("/v1/stream", headers={"Authorization": f"DPoP {bound}", **streamed}) as answer:
            assert (answer.status, await answer.text()) == (200, "streamed")


async def test_dpop_is_refused_without_a_base_url() -> None:
    async with serving(protected()) as session:
        assert (await get(session, "/read", f"DPoP {bound_token()}"))[0] == 401
        assert (await get(session, "/read", f"Bearer {bound_token()}"))[0] == 401
    with pytest.raises(ValueError, match="base_url"):
        token_middleware(verifier_of(dpop_required=True))
