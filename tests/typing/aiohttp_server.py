"""Types of the aiohttp middleware as an application sees them. `mypy` checks this file; nothing runs it."""

from typing import Any, assert_type

from aiohttp import web

from scopewright.verifier import AnyIssuer, Token, Verifier
from scopewright.verifier.aiohttp import current_token, require, token_middleware

verifier = Verifier("https://issuer.example", "https://payroll-api.payroll.svc")
routes = web.RouteTableDef()


@routes.get("/salaries")
async def salaries(request: web.Request) -> web.Response:
    assert_type(current_token(request), Token | None)
    token = assert_type(require(request, "payroll.read", any_of=["a", "b"], roles=("auditor",)), Token)
    return web.json_response({"caller": token.client_id})


def url_of(request: web.Request) -> str:
    return f"https://{request.host}"


app = web.Application(middlewares=[token_middleware(verifier, public=("/healthz",), optional=["/maybe"])])
app.add_routes(routes)
app.middlewares.append(token_middleware(AnyIssuer(verifier), ["payroll.read"], realm="payroll", base_url=url_of))
app.middlewares.append(token_middleware(verifier, base_url="https://payroll.example", websocket_subprotocol=True))


def mistakes(request: web.Request) -> Any:
    token_middleware("https://issuer.example")  # type: ignore[arg-type]
    token_middleware(verifier, public=7)  # type: ignore[arg-type]
    token_middleware(verifier, base_url=lambda: "")  # type: ignore[arg-type]
    require("payroll.read")  # type: ignore[arg-type]
    return current_token(request).subject  # type: ignore[union-attr]
