"""Refusals on one ASGI connection: the response, also where `require` raises one inside of the application."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any, Final

from scopewright.verifier.frameworks import (
    DJANGO,
    LITESTAR,
    MCP,
    answer_in_litestar,
    as_http_exception,
    is_error_of_tool,
)
from scopewright.verifier.paths import Scope
from scopewright.verifier.protection import Protection
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.token import Token

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # frameworks have their own types for the three

TOKEN_KEY: Final = "scopewright.token"  # noqa: S105  # a key of the ASGI scope, not a token


class RefusalHandler:
    """One connection. A refusal raised by `require` becomes the response, and replaces the one that the framework makes
    of the exception. Other responses of the application are not changed.
    """

    def __init__(self, scope: Scope, send: Send, protection: Protection, proofs: Sequence[str]) -> None:
        self.refusal: TokenRejected | None = None
        self._frameworks: tuple[str, ...] = ()
        self._scope = scope
        self._send = send
        self._protection = protection
        self._nonce = encoded(protection.nonce_headers(proofs)) if proofs else []
        self._buffered: list[Message] = []
        self._has_started = False

    def check(self, requirement: Requirement, scope: Scope) -> Token:
        return self._protection.check(requirement, scope.get(TOKEN_KEY), scope.get("method", "GET"), scope["path"])

    def refused(self, refusal: TokenRejected, frameworks: tuple[str, ...], scope: Scope) -> TokenRejected:
        """The exception for `require` to raise. A websocket has no HTTP exceptions."""
        self._frameworks = frameworks if self._scope["type"] == "http" else ()
        headers = {"WWW-Authenticate": self._challenge(refusal)}
        self.refusal = as_http_exception(refusal, self._frameworks, headers)
        if LITESTAR in self._frameworks:
            answer_in_litestar(scope, self.refusal)
        return self.refusal

    def _challenge(self, refusal: TokenRejected) -> str:
        return ", ".join(self._protection.challenges(refusal))

    async def run(self, app: App, scope: Scope, receive: Receive) -> None:
        try:
            await app(scope, receive, self._pass)
        except Exception as error:
            if error is not self.refusal or (self._has_started and scope["type"] == "http"):
                await self._release()
                raise
            await self.refuse(self.refusal)
        else:
            refusal = self.refusal
            if refusal is not None and self._buffered and self._is_made_by_framework(refusal, *self._buffered):
                await self.refuse(refusal)
            else:
                await self._release()

    async def _pass(self, message: Message) -> None:
        # A 500 is buffered too: some frameworks send it before they raise an unknown exception again.
        if self._buffered or (self.refusal is not None and self._may_be_of_refusal(message)):
            self._buffered.append(message)
        else:
            await self._forward(message)

    async def _forward(self, message: Message) -> None:
        if self._nonce and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *self._nonce]}
        self._has_started = True
        await self._send(message)

    def _may_be_of_refusal(self, message: Message) -> bool:
        if message["type"] == "websocket.close":
            return self._is_of_refusal(message)
        return not self._has_started and (message.get("status") == 500 or self._is_of_refusal(message))

    def _is_of_refusal(self, message: Message) -> bool:
        """Whether `message` is the response that a framework makes of the exception."""
        if message["type"] == "websocket.close":
            return message.get("code") in (1011, 4500)  # 4500 is Litestar's
        if self.refusal is None or message["type"] != "http.response.start":
            return False
        if message["status"] == 500:
            return DJANGO not in self._frameworks  # Django's PermissionDenied never ends as 500
        if message["status"] == 403 and DJANGO in self._frameworks:
            return True
        challenge = (b"www-authenticate", self._challenge(self.refusal).encode("ascii"))
        sent = [(bytes(name).lower(), bytes(value)) for name, value in message.get("headers", ())]
        if MCP in self._frameworks:  # not an event stream, which may stay open
            return message["status"] == 200 and (b"content-type", b"application/json") in sent
        return message["status"] == self.refusal.status and challenge in sent

    def _is_made_by_framework(self, refusal: TokenRejected, start: Message, *parts: Message) -> bool:
        """Whether the response is of the exception, and its body is not that of a handler of the application."""
        if not self._is_of_refusal(start):
            return False
        if MCP not in self._frameworks and (start.get("status") != refusal.status or DJANGO in self._frameworks):
            return True
        body = b"".join(part.get("body", b"") for part in parts)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = body.decode("utf-8", "replace")
        if MCP in self._frameworks:
            return is_error_of_tool(content, refusal)
        return content in (refusal.description, {"detail": refusal.description})

    async def _release(self) -> None:
        for message in self._buffered:
            await self._forward(message)

    async def refuse(self, refusal: TokenRejected | KeysUnavailable) -> None:
        if self._scope["type"] == "http":
            await self._answer("http.response", refusal)
        elif not self._has_started and "websocket.http.response" in (self._scope.get("extensions") or {}):
            await self._answer("websocket.http.response", refusal)
        else:
            reason = refusal.description[:120]
            await self._send({"type": "websocket.close", "code": 1008, "reason": reason})

    async def _answer(self, kind: str, refusal: TokenRejected | KeysUnavailable) -> None:
        status, headers, body = self._protection.refusal(refusal)
        await self._send({"type": f"{kind}.start", "status": status, "headers": encoded(headers) + self._nonce})
        await self._send({"type": f"{kind}.body", "body": body})


def encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]
