"""`public=` and DPoP's URL follow the path below `root_path`, for every division between server, router and proxy."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from scopewright.verifier import Verifier, protect, require
from scopewright.verifier.paths import path_below_root, routed_path, url_of
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, bound_token, proof

PUBLIC_URL = "https://hr.example"


async def salary(request: Request) -> Response:
    return PlainTextResponse(require(request, "payroll.read").client_id)


async def health(request: Request) -> Response:
    return PlainTextResponse("ok")


def service(base_url: str) -> Any:
    routes = [Route("/salaries/{id:path}", salary), Route("/healthz", health)]
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    return protect(Starlette(routes=routes), verifier, public=("/healthz",), base_url=base_url)


@asynccontextmanager
async def served(app: Any, **settings: Any) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, lifespan="off", log_level="error", **settings)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            with contextlib.suppress(asyncio.CancelledError):
                await serving


async def status(base: str, path: str, htu: str | None = None) -> int:
    headers = {}
    if htu is not None:
        sent = bound_token()
        headers = {"Authorization": f"DPoP {sent}", "DPoP": proof(sent, htu=htu)}
    async with httpx.AsyncClient() as client:
        return (await client.get(base + path, headers=headers)).status_code


def plain(base_url: str) -> Any:
    return service(base_url)


def mounted(base_url: str) -> Any:
    return Starlette(routes=[Mount("/v1", service(base_url))])


def mounted_twice(base_url: str) -> Any:
    return Starlette(routes=[Mount("/api", Starlette(routes=[Mount("/v1", service(base_url))]))])


@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.parametrize(
    ("build", "root_path", "base_url", "inside", "outside"),
    [
        (plain, "", PUBLIC_URL, "", ""),
        (plain, "", f"{PUBLIC_URL}/payroll", "", "/payroll"),  # a proxy removes /payroll, and the server does not know
        (plain, "/payroll", f"{PUBLIC_URL}/payroll", "", "/payroll"),  # the same, and the server knows
        (plain, "/payroll", PUBLIC_URL, "", "/payroll"),
        (plain, "/a/b", f"{PUBLIC_URL}/a", "", "/a/b"),
        (mounted, "", f"{PUBLIC_URL}/v1", "/v1", "/v1"),
        (mounted, "", PUBLIC_URL, "/v1", "/v1"),
        (mounted, "/payroll", f"{PUBLIC_URL}/payroll/v1", "/v1", "/payroll/v1"),
        (mounted, "/payroll", f"{PUBLIC_URL}/payroll", "/v1", "/payroll/v1"),
        (mounted, "", f"{PUBLIC_URL}/payroll", "/v1", "/payroll/v1"),
        (mounted_twice, "/payroll", PUBLIC_URL, "/api/v1", "/payroll/api/v1"),
    ],
)
async def test_public_paths_and_htu_with_real_servers(
    build: Callable[[str], Any], root_path: str, base_url: str, inside: str, outside: str, http: Any
) -> None:
    async with served(build(base_url), root_path=root_path, http=http) as base:
        assert await status(base, f"{inside}/healthz") == 200
        assert await status(base, f"{inside}/salaries/7") == 401
        for name in ("7", "7%2F8", "Z%C3%BCrich", "a%20b", "7/", "%7Eann"):
            assert await status(base, f"{inside}/salaries/{name}", f"{PUBLIC_URL}{outside}/salaries/{name}") == 200, (
                name
            )
        assert await status(base, f"{inside}/salaries/7", f"{PUBLIC_URL}/elsewhere/salaries/7") == 401


def scope(path: str, root_path: str = "", raw_path: bytes | None = None) -> dict[str, Any]:
    return {"path": path, "root_path": root_path, "raw_path": raw_path}


@pytest.mark.parametrize(
    ("path", "root_path", "below"),
    [
        ("/x", "", "/x"),
        ("/api/x", "/api", "/x"),
        ("/x", "/api", "/x"),  # older servers leave the root out
        ("/apix", "/api", "/apix"),
        ("/api", "/api", ""),
        ("/api/", "/api", "/"),
        ("//x", "/", "/x"),
        ("/api//x", "/api/", "/x"),
    ],
)
def test_path_below_root(path: str, root_path: str, below: str) -> None:
    assert path_below_root(scope(path, root_path)) == below


@pytest.mark.parametrize(
    ("path", "root_path", "routed"),
    [
        ("/x", "/api", "/x"),
        ("/x", "/", "/x"),
        ("/api/api/x", "/api", "/api/x"),
        ("/assets/api/x", "/api", None),
        ("/apix", "/api", None),
        ("/api/x", "/api/", None),
        ("/assets/api/x", "/api/", None),
    ],
)
def test_a_path_with_its_root_elsewhere_matches_no_pattern(path: str, root_path: str, routed: str | None) -> None:
    assert routed_path(scope(path, root_path)) == routed


@get("/admin")
async def litestar_admin() -> str:
    return "secret"


@get("/assets/{name:path}")
async def litestar_assets() -> str:
    return "asset"


async def test_litestar_below_a_root_path_opens_no_protected_route() -> None:
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    app = protect(Litestar([litestar_admin, litestar_assets], openapi_config=None), verifier, public=("/assets/**",))
    transport = httpx.ASGITransport(app, root_path="/api")  # as gunicorn: the path does not begin with it
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        answers = [await client.get(path) for path in ("/assets/x", "/api/assets/x", "/assets/api/admin")]
    assert [answer.status_code for answer in answers] == [200, 200, 401]


@pytest.mark.parametrize(
    ("sent", "url"),
    [
        (scope("/api/a/b", "/api", b"/api/a%2Fb"), "https://h/api/a%2Fb"),
        (scope("/a/b", "/api", b"/a%2Fb"), "https://h/api/a%2Fb"),
        (scope("/t/x/y/z", "/t/x", b"/t%2Fx/y/z"), "https://h/t/x/y/z"),
        (scope("/ä/b", "/ä", b"/%C3%A4/b"), "https://h/%C3%A4/b"),
        (scope("/ä/b", "/ä"), "https://h/%C3%A4/b"),
        (scope("/api", "/api", b"/api"), "https://h/api"),
        (scope("/api/x", "/api", b"/api/x?q=/1"), "https://h/api/x"),
    ],
)
def test_url_of_a_request_is_the_public_one(sent: dict[str, Any], url: str) -> None:
    assert url_of("https://h", sent) == url
    assert url_of("https://h/", sent) == url


def test_url_of_a_long_path() -> None:
    slashes = "/" * 60_000
    assert url_of("https://h", scope(f"/api{slashes}", "/api", f"/api{slashes}".encode())) == f"https://h/api{slashes}"
