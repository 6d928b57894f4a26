"""ASGI middleware: verifies the token of each request, or answers with the refusal. Needs no framework."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from scopewright.verifier.asgi_refusals import TOKEN_KEY, App, Receive, RefusalHandler, Send, encoded
from scopewright.verifier.frameworks import frameworks_of, own_root_path, scope_of
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

BaseUrl = str | Callable[[Scope], str]

_HANDLER_KEY = "scopewright.refusal_handler"


def require(
    request: Any, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Token:
    """The token of this request, if it has all of `scopes`, one of `any_of` and one of `roles`.

    `request` is an ASGI scope, has one as `.scope`, or is the `Context` of an MCP tool. Raises `TokenRejected`. Do not
    catch it: `RequireToken` answers with 403 (with 401 without a token). Starlette, FastAPI, Litestar and Django
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
    token: Token | None = scope.get(TOKEN_KEY)
    return token


def _handler(scope: Scope) -> RefusalHandler:
    handler: RefusalHandler | None = scope.get(_HANDLER_KEY)
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
        handler = RefusalHandler(scope, send, self.protection, request.dpop)
        try:
            if self.websocket_subprotocol and scope["type"] == "websocket":
                scope = self._with_token_in_header(scope)
                request = self._received(scope)
            token = await self.protection.token(request)
        except (TokenRejected, KeysUnavailable) as refusal:
            await handler.refuse(refusal)
            return
        await handler.run(self.app, {**scope, TOKEN_KEY: token, _HANDLER_KEY: handler}, receive)

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
    await send({"type": "http.response.start", "status": 200, "headers": encoded(metadata.headers())})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else metadata.document()})
