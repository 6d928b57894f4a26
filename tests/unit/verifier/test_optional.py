"""Paths where a token is optional, requirements of routes, and the current token."""

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scopewright.verifier import TokenRejected, Verifier, current_token, protect, require
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, bound_token, token


async def caller(request: Request) -> Response:
    found = current_token(request)
    return JSONResponse(found.client_id if found else None)


async def personal(request: Request) -> Response:
    return JSONResponse(require(request, roles=["clerk", "manager"]).subject)


async def either(request: Request) -> Response:
    return JSONResponse(require(request, any_of=["payroll.admin", "payroll.write"]).subject)


ROUTES = [
    Route("/news", caller),
    Route("/news/own", personal),
    Route("/public", caller),
    Route("/private", caller),
    Route("/either", either),
    Route("/roles", personal),
]


async def get(path: str, *authorization: str, scopes: str = "", **options: Any) -> httpx.Response:
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    app = protect(Starlette(routes=ROUTES), verifier, scopes, public=["/public"], optional=["/news/**"], **options)
    headers = [("Authorization", value) for value in authorization]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        return await client.get(path, headers=headers)


async def test_optional_path_has_the_token_that_was_sent_or_none() -> None:
    assert (await get("/news")).json() is None
    assert (await get("/news", f"Bearer {token()}")).json() == "leave.leave-worker"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ([f"Bearer {token(exp=1)}"], 401),
        (["Bearer abc"], 401),
        (["Bearer"], 401),
        (["bearer "], 401),
        ([f"DPoP {token()}"], 401),
        ([f"Bearer {bound_token()}"], 401),
        ([f"Bearer {token()}", f"Bearer {token()}"], 400),
    ],
)
async def test_optional_path_refuses_a_token_that_is_not_valid(sent: list[str], status: int) -> None:
    answer = await get("/news", *sent)
    assert answer.status_code == status
    assert answer.headers["www-authenticate"]


async def test_optional_path_passes_credentials_that_are_no_token() -> None:
    assert (await get("/news", "Basic YTpi")).json() is None


async def test_optional_path_refuses_a_token_without_the_scopes_of_the_application() -> None:
    assert (await get("/news", f"Bearer {token()}", scopes="payroll.write")).status_code == 403
    assert (await get("/news", scopes="payroll.write")).status_code == 200


async def test_requirement_on_an_optional_path_refuses_a_request_without_a_token_with_401() -> None:
    assert (await get("/news/own")).status_code == 401


async def test_public_path_ignores_the_token() -> None:
    assert (await get("/public", f"Bearer {token()}")).json() is None
    assert (await get("/public", "Bearer abc")).json() is None


async def test_private_path_has_the_current_token() -> None:
    assert (await get("/private", f"Bearer {token()}")).json() == "leave.leave-worker"
    assert (await get("/private")).status_code == 401


async def test_one_of_several_scopes_is_sufficient() -> None:
    assert (await get("/either", f"Bearer {token(scope='payroll.write')}")).status_code == 200
    refused = await get("/either", f"Bearer {token(scope='payroll.read')}")
    assert refused.status_code == 403
    assert refused.json()["scope"] == "payroll.admin"
    assert "payroll.admin or payroll.write" in refused.headers["www-authenticate"]


async def test_one_of_several_roles_is_sufficient() -> None:
    assert (await get("/roles", f"Bearer {token(roles=['manager'])}")).status_code == 200
    refused = await get("/roles", f"Bearer {token(roles=['guest'])}")
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert "clerk or manager" in refused.json()["error_description"]


def test_current_token_without_the_middleware_is_an_error_of_the_application() -> None:
    with pytest.raises(RuntimeError, match="RequireToken"):
        current_token({"type": "http"})


def test_requirement_that_cannot_be_met_by_any_token_is_no_refusal() -> None:
    with pytest.raises((RuntimeError, ValueError)) as raised:
        require({"type": "http"}, 'a"b')
    assert not isinstance(raised.value, TokenRejected)
