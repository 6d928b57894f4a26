"""Records requests of an ASGI application after its router has chosen a route, and before the answer is sent."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.gateway.services.recording import record
from tests.gateway.services.routes import UNROUTED


def recorded(app: ASGIApp) -> ASGIApp:
    async def recording(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name.decode("latin-1"), text.decode("latin-1")) for name, text in scope["headers"]]
                route = getattr(scope.get("route"), "name", UNROUTED)
                record(scope["method"], scope["path"], route, headers)
            await send(message)

        await app(scope, receive, send_recorded if scope["type"] == "http" else send)

    return recording
