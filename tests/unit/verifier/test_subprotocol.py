"""The token of a browser's websocket: the subprotocol `bearer.scopewright.<token>`."""

import json
import logging
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

from scopewright.verifier import Verifier, protect, require
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer, token


async def socket(websocket: WebSocket) -> None:
    caller = require(websocket, "payroll.read").client_id
    offered = websocket.scope["subprotocols"]
    await websocket.accept(subprotocol=offered[0] if offered else None)
    header = websocket.headers.get("sec-websocket-protocol", "")
    await websocket.send_json({"caller": caller, "offered": offered, "header": header})
    await websocket.close()


async def connect(*offered: str, enabled: bool = True, authorization: str | None = None) -> list[dict[str, Any]]:
    """The messages to a client that offers these subprotocols."""
    verifier = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).async_client(), clock=Clock())
    app = protect(Starlette(routes=[WebSocketRoute("/", socket)]), verifier, websocket_subprotocol=enabled)
    headers = [(b"sec-websocket-protocol", ", ".join(offered).encode())] if offered else []
    headers += [(b"authorization", authorization.encode())] if authorization else []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": headers,
        "subprotocols": list(offered),
        "extensions": {"websocket.http.response": {}},
    }
    await app(scope, receive, send)
    return sent


async def accepted(*offered: str, authorization: str | None = None) -> tuple[str | None, Any]:
    """The selected subprotocol, and the message of the application."""
    accept, message, _ = await connect(*offered, authorization=authorization)
    return accept["subprotocol"], json.loads(message["text"])


async def refused(*offered: str, **options: Any) -> int:
    start, _ = await connect(*offered, **options)
    assert b"www-authenticate" in dict(start["headers"])
    return int(start["status"])


async def test_application_does_not_see_the_subprotocol_with_the_token() -> None:
    selected, got = await accepted("chat", f"bearer.scopewright.{token()}", "chat.v2")
    assert selected == "chat"
    assert got == {"caller": "leave.leave-worker", "offered": ["chat", "chat.v2"], "header": "chat, chat.v2"}


async def test_token_of_the_header_is_still_accepted() -> None:
    assert (await accepted("chat", authorization=f"Bearer {token()}"))[1]["offered"] == ["chat"]
    assert (await accepted(authorization=f"Bearer {token()}"))[1]["offered"] == []


@pytest.mark.parametrize(
    ("offered", "status"),
    [
        ([], 401),
        (["chat"], 401),
        (["chat", "bearer.scopewright."], 401),
        (["chat", "bearer.scopewright.abc"], 401),
        (["chat", f"bearer.other.{token()}"], 401),
        (["chat", f"bearer.scopewright.{token(scope='payroll.write')}"], 403),
        ([f"bearer.scopewright.{token()}"], 400),
        (["chat", f"bearer.scopewright.{token()}", f"bearer.scopewright.{token()}"], 400),
    ],
)
async def test_websocket_without_one_valid_token_and_a_subprotocol_is_denied(offered: list[str], status: int) -> None:
    assert await refused(*offered) == status


async def test_refused_subprotocols_are_logged_without_the_token(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scopewright.verifier")
    sent = token()
    assert await refused(f"bearer.scopewright.{sent}") == 400
    assert [record.getMessage().partition(": Offer")[0] for record in caplog.records] == [
        "refused GET /: 400 subprotocol"
    ]
    assert sent not in caplog.text


async def test_token_in_the_subprotocol_and_in_the_header_is_refused() -> None:
    assert await refused("chat", f"bearer.scopewright.{token()}", authorization=f"Bearer {token()}") == 400


async def test_subprotocol_is_not_read_unless_it_is_enabled() -> None:
    assert await refused("chat", f"bearer.scopewright.{token()}", enabled=False) == 401
