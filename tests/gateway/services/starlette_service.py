"""The API on Starlette. It trusts the gateway: it checks nothing itself."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from tests.gateway.services.asgi import recorded
from tests.gateway.services.routes import METHODS, ROUTES


async def _answer(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("done")


def _pattern(path: str) -> str:
    return path.replace("<rest>", "{rest:path}").replace("<id>", "{id}")


app = recorded(Starlette(routes=[Route(_pattern(path), _answer, name=name, methods=METHODS) for path, name in ROUTES]))
