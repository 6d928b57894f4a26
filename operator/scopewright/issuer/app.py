"""The issuer as an ASGI application: nothing but the translation, so that another transport can take its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from scopewright.issuer.errors import invalid_request, unexpected
from scopewright.issuer.messages import Answer, HttpRequest
from scopewright.issuer.request import BODY_LIMIT
from scopewright.issuer.service import Issuer

log: Final = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

BODY_TIMEOUT: Final = 10.0


class Disconnected(Exception):
    """The caller went away before its request was complete."""


class App:
    def __init__(self, issuer: Issuer, *, body_timeout: float = BODY_TIMEOUT) -> None:
        self._issuer = issuer
        self._body_timeout = body_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"no {scope['type']} here")
        try:
            answer = await self._answer(scope, receive)
        except Disconnected:
            return
        except Exception:
            log.exception("a request failed")
            answer = unexpected().answer()
        headers = [*answer.headers, (b"content-length", str(len(answer.body)).encode())]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            body = await self._body(receive)
        except TimeoutError:
            closing = ((b"connection", b"close"),)
            return invalid_request("the body did not come in time", status=408, headers=closing).answer()
        client = scope.get("client")
        return await self._issuer.answer(
            HttpRequest(
                method=scope["method"],
                path=scope["path"],
                query=scope.get("query_string", b""),
                headers=scope["headers"],
                body=body,
                peer=client[0] if client else "",
            )
        )

    async def _body(self, receive: Receive) -> bytes:
        """All of it, or what shows that it is too large."""
        body, more = _part(await receive())
        if more:
            async with asyncio.timeout(self._body_timeout):
                while more and len(body) <= BODY_LIMIT:
                    part, more = _part(await receive())
                    body += part
        return body


def _part(message: Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), message.get("more_body", False)
