"""The caller: shows the salaries, which it gets from the API with a token in each request."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from scopewright.client import ClientCredentials

payroll = httpx.AsyncClient(base_url=os.environ["PAYROLL_URL"], auth=ClientCredentials.from_env())


async def salaries(request: Request) -> JSONResponse:
    try:
        answer = await payroll.get("/salaries")
    except httpx.HTTPError as error:  # no token, or no answer
        return JSONResponse({"error": str(error)}, 502)
    return JSONResponse(answer.json(), answer.status_code)


async def healthy(request: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with payroll:
        yield


app = Starlette(routes=[Route("/salaries", salaries), Route("/healthz", healthy)], lifespan=lifespan)
