"""Protects routes of FastAPI: dependencies that return the verified token. No middleware is needed."""

import functools
import inspect
import os
from collections.abc import Awaitable, Callable, Iterable
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, HTTPException, Response, Security, WebSocketException, status
from fastapi.openapi.models import HTTPBearer
from fastapi.requests import HTTPConnection
from fastapi.security import SecurityScopes
from fastapi.security.base import SecurityBase

from scopewright.verifier.frameworks import refusal_as
from scopewright.verifier.paths import Scope, routed_path
from scopewright.verifier.patterns import PathAuthentication
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

_VERIFIED_KEY = "scopewright.verified"
_MANY_LETTERS: Final = 4


class _RequireNotCalled:
    """A dependency of `require` itself. FastAPI reads the signature of a dependency when a route is added."""

    @property
    def __signature__(self) -> inspect.Signature:
        raise TypeError("call require: Security(auth.require(...)), and not Security(auth.require)")

    def __call__(self) -> str:
        raise TypeError


class TokenAuth(SecurityBase):
    """A dependency: `Annotated[Token, Security(auth, scopes=["payroll.read"])]`.

    A token needs the scopes of the route, of its routers and application, and `scopes`. Refusals are HTTPExceptions
    with the headers of RFC 6750 §3 (and `TokenRejected` or `KeysUnavailable`); a websocket is closed with 1008 before
    it is accepted. `scheme_name` and `description` are shown on the page /docs. `base_url` accepts DPoP, and
    `websocket_subprotocol` the tokens of browsers' websockets, as in `RequireToken`. With `resource_metadata`, call
    `add_metadata_route` too: a dependency has no route of its own.

    With `rules`, a request needs what its rule needs too, and the stricter one of the rule and the route applies. Rules
    protect the routes that depend on this object, and no others: `RequireToken` as a middleware protects all.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        scopes: Iterable[str] = (),
        rules: Rules | str | os.PathLike[str] | None = None,
        realm: str | None = None,
        base_url: str | Callable[[Scope], str] | None = None,
        websocket_subprotocol: bool = False,
        resource_metadata: bool | ResourceMetadata | None = None,
        scheme_name: str = "AccessToken",
        description: str = "An access token of the issuer (RFC 9068).",
    ) -> None:
        check_base_url(base_url)
        self.protection = Protection(
            verifier,
            scopes=scopes,
            rules=rules,
            realm=realm,
            dpop=base_url is not None,
            resource_metadata=resource_metadata,
        )
        self.base_url = base_url
        self.websocket_subprotocol = websocket_subprotocol
        self.scheme_name = scheme_name
        self.model = HTTPBearer(bearerFormat="JWT", description=description)
        self.optional = _OptionalTokenAuth(self)
        """A dependency that returns None if no token is sent. A token that is sent must be valid."""

    async def __call__(self, connection: HTTPConnection, response: Response, security_scopes: SecurityScopes) -> Token:
        requirement = _requirement_of(tuple(security_scopes.scopes))
        token = await self.verified(connection, response, PathAuthentication.REQUIRED)
        return self.checked(token, requirement, connection)

    def require(
        self,
        *scopes: Annotated[str, Depends(_RequireNotCalled())],
        any_of: Iterable[str] | None = None,
        roles: Iterable[str] | None = None,
    ) -> Callable[..., Awaitable[Token]]:
        """A dependency for a token with all of `scopes`, one of `any_of` and one of `roles`.

        Use it as `Annotated[Token, Security(auth.require(any_of=["payroll.read", "payroll.audit"]))]`.
        """
        requirement = Requirement.of(scopes, any_of, roles)

        async def required(
            connection: HTTPConnection, token: Annotated[Token, Security(self, scopes=sorted(requirement.scopes))]
        ) -> Token:
            return self.checked(token, requirement, connection)

        return required

    def add_metadata_route(self, app: FastAPI) -> None:
        """Serves the protected resource metadata (RFC 9728), before all routes and without their dependencies.

        Call it before the application starts. Raises ValueError without `resource_metadata`.
        """
        if not self.protection.has_metadata:
            raise ValueError("add_metadata_route needs TokenAuth(verifier, resource_metadata=True)")
        app.add_middleware(_MetadataMiddleware, protection=self.protection)

    async def verified(self, connection: HTTPConnection, response: Response, route: PathAuthentication) -> Token | None:
        """The verified token, which may lack the scopes of the route. Raises HTTPException or WebSocketException."""
        scope = connection.scope
        nonce_headers: dict[str, str] = {}
        try:
            if self.websocket_subprotocol:
                self._take_token_from_subprotocols(scope)
            request = request_of_scope(scope, self.base_url)
            nonce_headers = dict(self.protection.nonce_headers(request.dpop))
            response.headers.update(nonce_headers)
            return await self._verified_once(request, scope, route)
        except (TokenRejected, KeysUnavailable) as refusal:
            raise self._exception(refusal, scope, nonce_headers) from None

    async def _verified_once(self, request: ReceivedRequest, scope: Scope, route: PathAuthentication) -> Token | None:
        """A route may depend on the same `TokenAuth` several times. A DPoP proof is accepted once."""
        verified: dict[TokenAuth, tuple[object, Token]] = scope.setdefault(_VERIFIED_KEY, {})
        sent = request._asdict() | {"url": None}
        known = verified.get(self)
        if known is not None and known[0] == sent:
            return known[1]
        token = await self.protection.token(request, route=route)
        if token is not None:
            verified[self] = (sent, token)
        return token

    def checked(self, token: Token | None, requirement: Requirement, connection: HTTPConnection) -> Token:
        """The token, if it meets the requirement. Raises HTTPException or WebSocketException."""
        scope = connection.scope
        try:
            return self.protection.check(requirement, token, scope.get("method", "GET"), scope["path"])
        except TokenRejected as refusal:
            raise self._exception(refusal, scope, {}) from None

    def _exception(self, refusal: TokenRejected | KeysUnavailable, scope: Scope, headers: dict[str, str]) -> Exception:
        if scope["type"] == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
            return WebSocketException(status.WS_1008_POLICY_VIOLATION, refusal.description[:120])
        return refusal_as((HTTPException,), refusal, headers=self.protection.exception_headers(refusal) | headers)

    def _take_token_from_subprotocols(self, scope: Scope) -> None:
        """Changes the list of headers itself: the websocket of the route has one object of headers for it already."""
        headers = scope["headers"]
        try:
            scope.update(with_token_in_header(scope))
        except TokenRejected as refusal:
            self.protection.log(refusal, "GET", scope["path"])
            raise
        if isinstance(headers, list):
            headers[:] = scope["headers"]
            scope["headers"] = headers


@functools.lru_cache(maxsize=1024)
def _requirement_of(scopes: tuple[str, ...]) -> Requirement:
    """Of the scopes of a route. Raises TypeError for the letters of a text, into which FastAPI divides `scopes="…"`."""
    letters = [scope for scope in scopes if len(scope) == 1]
    if len(letters) >= _MANY_LETTERS or not all(letter.isalnum() for letter in letters):
        raise TypeError('scopes= of Security takes a list: write scopes=["payroll.read"] and not scopes="payroll.read"')
    return Requirement.of(scopes)


class _MetadataMiddleware:
    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], protection: Protection) -> None:
        self._app = app
        self._protection = protection

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        is_http = scope["type"] == "http"
        metadata = self._protection.metadata_for(scope["method"], routed_path(scope)) if is_http else None
        if metadata is None:
            await self._app(scope, receive, send)
        else:
            await Response(metadata.document(), headers=dict(metadata.headers()))(scope, receive, send)


class _OptionalTokenAuth(SecurityBase):
    def __init__(self, auth: TokenAuth) -> None:
        self._auth = auth
        self.scheme_name, self.model = auth.scheme_name, auth.model

    async def __call__(
        self, connection: HTTPConnection, response: Response, security_scopes: SecurityScopes
    ) -> Token | None:
        requirement = _requirement_of(tuple(security_scopes.scopes))
        token = await self._auth.verified(connection, response, PathAuthentication.OPTIONAL)
        return None if token is None else self._auth.checked(token, requirement, connection)
