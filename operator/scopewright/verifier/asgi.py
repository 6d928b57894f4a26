"""ASGI middleware: verifies the token of each request, or answers with the refusal. Needs no framework."""

import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from scopewright.verifier.frameworks import (
    DJANGO,
    LITESTAR,
    MCP,
    answer_in_litestar,
    as_http_exception,
    frameworks_of,
    is_error_of_tool,
    own_root_path,
    scope_of,
)
from scopewright.verifier.paths import Scope, routed_path
from scopewright.verifier.protection import Protection, check_base_url
from scopewright.verifier.received import request_of_scope
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rules
from scopewright.verifier.subprotocol import with_token_in_header
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # frameworks have their own types for the three

BaseUrl = str | Callable[[Scope], str]

_TOKEN_KEY = "scopewright.token"  # noqa: S105  # a key of the ASGI scope, not a token
_HANDLER_KEY = "scopewright.refusal_handler"


def require(
    request: Any, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Token:
    """The token of this request, if it has all of `scopes`, one of `any_of` and one of `roles`.

    `request` is an ASGI scope, has one as `.scope`, or is the `Context` of an MCP tool. Raises `TokenRejected`. Do not
    catch it: `RequireToken` answers with 403 (with 401 if there is no token). Starlette, FastAPI, Litestar and Django
    treat it as one of their HTTP exceptions, and MCP as a `ToolError`, not as an error.
    """
    scope: Scope = scope_of(request)
    handler = _handler(scope)
    try:
        return handler.check(Requirement.of(scopes, any_of, roles), scope)
    except TokenRejected as refusal:
        raise handler.refused(refusal, frameworks_of(request), scope) from None


def current_token(request: Any) -> Token | None:
    """The token of this request; None on a public path, and on an optional path if none was sent."""
    scope: Scope = scope_of(request)
    _handler(scope)
    token: Token | None = scope.get(_TOKEN_KEY)
    return token


def _handler(scope: Scope) -> "_RefusalHandler":
    handler: _RefusalHandler | None = scope.get(_HANDLER_KEY)
    if handler is None:
        raise RuntimeError("the RequireToken middleware is missing: add it, or wrap the application in protect()")
    return handler


def protect(
    app: App,
    verifier: TokenVerifier,
    scopes: Iterable[str] = (),
    *,
    public: Iterable[str] = (),
    optional: Iterable[str] = (),
    rules: Rules | str | os.PathLike[str] | None = None,
    realm: str | None = None,
    base_url: BaseUrl | None = None,
    websocket_subprotocol: bool = False,
    resource_metadata: bool | ResourceMetadata | None = None,
) -> "RequireToken":
    """`app` behind a `RequireToken`."""
    return RequireToken(
        app,
        verifier,
        scopes=scopes,
        public=public,
        optional=optional,
        rules=rules,
        realm=realm,
        base_url=base_url,
        websocket_subprotocol=websocket_subprotocol,
        resource_metadata=resource_metadata,
    )


class RequireToken:
    """Passes requests with a valid token to `app`, with the `Token` as `scope["scopewright.token"]`.

    Answers all other requests with 400, 401, 403 or 503, with `WWW-Authenticate` or `Retry-After` and a JSON body
    (RFC 6750 §3); websockets with the same as a denial response, or with close code 1008. Every request needs `scopes`;
    `require` adds more on a route. Put a CORS middleware outside of this one, because preflight requests carry no
    token.

    `public` and `optional` are patterns of paths below the application's `root_path`, such as `/healthz`, `/users/*`
    (one segment) or `/assets/**`. On a public path a token is ignored. On an optional path a request without a token is
    passed on, and a token that is sent must be valid.

    `rules` are `Rules`, or the JSON file of `scopewright export rules`, in place of `public` and `optional`. The rule
    for the method and the path below `root_path` says what a request needs; a request without a rule is 403.

    DPoP (RFC 9449) is accepted if `base_url` is given: the root of the application as its callers see it, such as
    `https://payroll.hr.example`, with or without the `root_path`. A request behind a proxy does not show this URL. Pass
    a function of the ASGI scope only if you know which headers your own proxy alone can set.

    With `websocket_subprotocol` a websocket may send its token as the subprotocol `bearer.scopewright.<token>`, besides
    one of the application: the websockets of browsers have no headers. The application gets it in the header
    Authorization.

    With `resource_metadata` the API describes itself (RFC 9728): the document is served without a token at
    `/.well-known/oauth-protected-resource` and the audience's path, and challenges contain its URL. True describes the
    verifier, whose one audience must be the URL of the API.
    """

    def __init__(
        self,
        app: App,
        verifier: TokenVerifier,
        *,
        scopes: Iterable[str] = (),
        public: Iterable[str] = (),
        optional: Iterable[str] = (),
        rules: Rules | str | os.PathLike[str] | None = None,
        realm: str | None = None,
        base_url: BaseUrl | None = None,
        websocket_subprotocol: bool = False,
        resource_metadata: bool | ResourceMetadata | None = None,
    ) -> None:
        check_base_url(base_url)
        self.app = app
        self.base_url = base_url
        self._own_root_path = own_root_path(app)
        self.websocket_subprotocol = websocket_subprotocol
        self.protection = Protection(
            verifier,
            scopes=scopes,
            public=public,
            optional=optional,
            rules=rules,
            realm=realm,
            dpop=base_url is not None,
            resource_metadata=resource_metadata,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(
                f"a connection of type {scope['type']!r} cannot carry a token; http and websocket are supported"
            )
        request = self._received(scope)
        metadata = self.protection.metadata_for(request.method, request.path) if scope["type"] == "http" else None
        if metadata is not None:
            await _answer_with(metadata, request.method, send)
            return
        handler = _RefusalHandler(scope, send, self.protection, request.dpop)
        try:
            if self.websocket_subprotocol and scope["type"] == "websocket":
                scope = self._with_token_in_header(scope)
                request = self._received(scope)
            token = await self.protection.token(request)
        except (TokenRejected, KeysUnavailable) as refusal:
            await handler.refuse(refusal)
            return
        await handler.run(self.app, {**scope, _TOKEN_KEY: token, _HANDLER_KEY: handler}, receive)

    def _received(self, scope: Scope) -> ReceivedRequest:
        received = request_of_scope(scope, self.base_url)
        root = self._own_root_path
        return received._replace(path=routed_path({**scope, "root_path": root}), root=root) if root else received

    def _with_token_in_header(self, scope: Scope) -> Scope:
        try:
            return with_token_in_header(scope)
        except TokenRejected as refusal:
            self.protection.log(refusal, "GET", scope["path"])
            raise


async def _answer_with(metadata: ResourceMetadata, method: str, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _encoded(metadata.headers())})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else metadata.document()})


class _RefusalHandler:
    """One connection. A refusal raised by `require` becomes the response, and replaces the one that the framework makes
    of the exception. Other responses of the application are not changed.
    """

    def __init__(self, scope: Scope, send: Send, protection: Protection, proofs: Sequence[str]) -> None:
        self.refusal: TokenRejected | None = None
        self._frameworks: tuple[str, ...] = ()
        self._scope = scope
        self._send = send
        self._protection = protection
        self._nonce = _encoded(protection.nonce_headers(proofs)) if proofs else []
        self._buffered: list[Message] = []
        self._has_started = False

    def check(self, requirement: Requirement, scope: Scope) -> Token:
        return self._protection.check(requirement, scope.get(_TOKEN_KEY), scope.get("method", "GET"), scope["path"])

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
        except ValueError:
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
        await self._send({"type": f"{kind}.start", "status": status, "headers": _encoded(headers) + self._nonce})
        await self._send({"type": f"{kind}.body", "body": body})


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]
