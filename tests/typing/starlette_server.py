"""A service with Starlette, as `mypy --strict` sees it."""

from typing import assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from scopewright.verifier import (
    AnyIssuer,
    RequireToken,
    ResourceMetadata,
    Token,
    Verifier,
    current_token,
    protect,
    require,
)

verifier = AnyIssuer(Verifier("https://issuer.example", "https://payroll.example"))


async def salaries(request: Request) -> JSONResponse:
    token = assert_type(require(request, "payroll.read", any_of=("a", "b"), roles=["auditor"]), Token)
    assert_type(current_token(request.scope), Token | None)
    return JSONResponse({"caller": token.client_id})


async def socket(websocket: WebSocket) -> None:
    require(websocket)
    await websocket.accept()


routes = [Route("/salaries", salaries), WebSocketRoute("/socket", socket)]
app = protect(Starlette(routes=routes), verifier, ["payroll.read"], public=("/healthz",), websocket_subprotocol=True)
metadata = ResourceMetadata.of("https://payroll.example", ["https://issuer.example"], scopes=("payroll.read",))
described = protect(app, verifier, resource_metadata=metadata)
document = assert_type(metadata.document(), bytes)
same = Starlette(routes=routes, middleware=[Middleware(RequireToken, verifier=verifier, optional=["/classes"])])
