"""The API: serves salaries to callers whose token has the scope payroll.read."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scopewright.verifier import Verifier, protect, require


async def salaries(request: Request) -> JSONResponse:
    token = require(request, "payroll.read")
    return JSONResponse({"caller": token.client_id, "salaries": {"7": 5200}})


async def healthy(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


routes = [Route("/salaries", salaries), Route("/healthz", healthy)]
app = protect(Starlette(routes=routes), Verifier.from_env(), public=("/healthz",))
