"""The API on FastAPI. It trusts the gateway: it checks nothing itself."""

from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse

from tests.gateway.services.asgi import recorded
from tests.gateway.services.routes import METHODS, ROUTES

_app = FastAPI(openapi_url=None)


async def _answer(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("done")


for _path, _name in ROUTES:
    _pattern = _path.replace("<rest>", "{rest:path}").replace("<id>", "{id}")
    _app.add_api_route(_pattern, _answer, name=_name, methods=list(METHODS))

app = recorded(_app)
