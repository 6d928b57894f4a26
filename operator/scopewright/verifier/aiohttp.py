"""aiohttp middleware: verifies the token of each request, or raises the refusal as one of aiohttp's HTTP exceptions."""

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Protocol
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from aiohttp import hdrs, web
from multidict import CIMultiDict

from scopewright.verifier.paths import path_below_root, url_of
from scopewright.verifier.protection import Protection, check_base_url
from scopewright.verifier.received import overrides_method
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rules
from scopewright.verifier.subprotocol import offered_token, without_token
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier

_BaseUrl = str | Callable[[web.Request], str]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Middleware(Protocol):
    """What `web.Application(middlewares=[…])` takes."""

    def __call__(self, request: web.Request, handler: _Handler) -> Awaitable[web.StreamResponse]: ...


_EXCEPTIONS: Final[dict[int, type[web.HTTPException]]] = {
    400: web.HTTPBadRequest,
    401: web.HTTPUnauthorized,
    403: web.HTTPForbidden,
    503: web.HTTPServiceUnavailable,
}
_SET_BY_AIOHTTP: Final = frozenset({"Content-Type", "Content-Length"})


def token_middleware(
    verifier: TokenVerifier,
    scopes: Iterable[str] = (),
    *,
    public: Iterable[str] = (),
    optional: Iterable[str] = (),
    rules: Rules | str | os.PathLike[str] | None = None,
    realm: str | None = None,
    base_url: _BaseUrl | None = None,
    websocket_subprotocol: bool = False,
    resource_metadata: bool | ResourceMetadata | None = None,
) -> _Middleware:
    """A middleware for `web.Application(middlewares=[…])`, before those that need the token.

    Passes requests with a valid token on, and raises `HTTPBadRequest`, `HTTPUnauthorized`, `HTTPForbidden` or
    `HTTPServiceUnavailable` for all others, with `WWW-Authenticate` or `Retry-After` and a JSON body (RFC 6750 §3). The
    handshake of a websocket is refused in the same way. `scopes` are needed on every path; `require` adds more in a
    handler.

    `public` and `optional` are patterns of paths, such as `/healthz`, `/users/*` (one segment) or `/assets/**`. In a
    sub-application they begin below its prefix. On a public path a token is ignored. On an optional path a request
    without a token is passed on, and a token that is sent must be valid.

    `rules` are `Rules`, or the JSON file of `scopewright export rules`, in place of `public` and `optional`. The rule
    for the method and the path says what a request needs; a request without a rule is 403.

    DPoP (RFC 9449) is accepted if `base_url` is given: the root of the application as its callers see it, such as
    `https://payroll.hr.example`, with or without the prefix of a sub-application. Pass a function of the request only
    if you know which headers your own proxy alone can set.

    With `websocket_subprotocol` a websocket may send its token as the subprotocol `bearer.scopewright.<token>`, besides
    one of the application: the websockets of browsers have no headers. The handler does not see that subprotocol.

    With `resource_metadata` the API describes itself (RFC 9728): the document is served without a token at
    `/.well-known/oauth-protected-resource` and the audience's path, and challenges contain its URL. True describes the
    verifier, whose one audience must be the URL of the API. A sub-application does not get these requests: add the
    middleware to the application itself.
    """
    check_base_url(base_url)
    protection = Protection(
        verifier,
        scopes=scopes,
        public=public,
        optional=optional,
        rules=rules,
        realm=realm,
        dpop=base_url is not None,
        resource_metadata=resource_metadata,
    )
    authentication = _RequestAuthentication(protection, base_url, websocket_subprotocol)

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        if (metadata := protection.metadata_for(request.method, request.path)) is not None:
            return web.Response(body=metadata.document(), headers=metadata.headers())
        nonce = protection.nonce_headers(_values(request, "DPoP"))
        try:
            response = await handler(await authentication.authenticated(request))
        except web.HTTPException as exception:
            exception.headers.extend(nonce)
            raise
        if not response.prepared:
            response.headers.extend(nonce)
        return response

    return middleware


def require(
    request: web.Request, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Token:
    """The token of this request, if it has all of `scopes`, one of `any_of` and one of `roles`.

    Raises `HTTPForbidden`, or `HTTPUnauthorized` if there is no token. Call it before the response is prepared, also
    that of a websocket.
    """
    authenticated = _authenticated(request)
    try:
        requirement = Requirement.of(scopes, any_of, roles)
        return authenticated.protection.check(requirement, authenticated.token, request.method, request.path)
    except TokenRejected as refusal:
        raise _http_exception(authenticated.protection, refusal) from None


def current_token(request: web.Request) -> Token | None:
    """The token of this request; None on a public path, and on an optional path if none was sent."""
    return _authenticated(request).token


@dataclass(frozen=True, slots=True)
class _Authenticated:
    protection: Protection
    token: Token | None


# aiohttp before 3.14 has no RequestKey, and later ones warn about other keys.
_KEY: Final[Any] = web.RequestKey("scopewright", _Authenticated) if hasattr(web, "RequestKey") else "scopewright"


def _authenticated(request: web.Request) -> _Authenticated:
    found: _Authenticated | None = request.get(_KEY)
    if found is None:
        raise RuntimeError("the middleware is missing: web.Application(middlewares=[token_middleware(verifier)])")
    return found


class _RequestAuthentication:
    def __init__(self, protection: Protection, base_url: _BaseUrl | None, websocket_subprotocol: bool) -> None:
        self._protection = protection
        self._base_url = base_url
        self._websocket_subprotocol = websocket_subprotocol
        self._prefixes: WeakKeyDictionary[web.Application, str] = WeakKeyDictionary()

    async def authenticated(self, request: web.Request) -> web.Request:
        """The request for the handler. Raises the refusal as an HTTP exception."""
        try:
            received = self._logged_received(request)
            token = await self._protection.token(received)
        except (TokenRejected, KeysUnavailable) as refusal:
            raise _http_exception(self._protection, refusal) from None
        inner = request
        if self._websocket_subprotocol and len(kept := without_token(offered := _subprotocols(request))) < len(offered):
            inner = request.clone(headers=_headers_with_subprotocols(request, kept))
        inner[_KEY] = _Authenticated(self._protection, token)
        return inner

    def _logged_received(self, request: web.Request) -> ReceivedRequest:
        try:
            return self._received(request)
        except TokenRejected as refusal:
            self._protection.log(refusal, request.method, request.path)
            raise

    def _received(self, request: web.Request) -> ReceivedRequest:
        url = request.rel_url
        root = self._prefix(request)
        # What the functions of `paths` read of an ASGI scope.
        scope = {
            "path": url.path,
            "root_path": root,
            "raw_path": url.raw_path.encode(errors="surrogateescape"),
        }
        base_url = self._base_url
        return ReceivedRequest(
            method=request.method,
            path=path_below_root(scope),
            raw_path=request.raw_path.partition("?")[0],
            query=url.raw_query_string,
            authorization=_values(request, "Authorization") + self._from_subprotocol(request),
            dpop=_values(request, "DPoP"),
            url=lambda: url_of(base_url(request) if callable(base_url) else str(base_url), scope),
            root=root,
            overrides_method=overrides_method(request.headers),
        )

    def _from_subprotocol(self, request: web.Request) -> list[str]:
        """The token of a browser's websocket, as a value of the header Authorization."""
        token = offered_token(_subprotocols(request)) if self._websocket_subprotocol else None
        return [] if token is None else [f"Bearer {token}"]

    def _prefix(self, request: web.Request) -> str:
        """The decoded prefix of the sub-application that has this middleware. It cannot change once aiohttp serves."""
        app = request.app
        prefix = self._prefixes.get(app)
        if prefix is None:
            prefix = self._prefixes[app] = _prefix_of(app, request.match_info.apps)
        return prefix


def _prefix_of(app: web.Application, apps: Sequence[web.Application]) -> str:
    """`apps` are those of the matched route, the outermost first. A resource has the prefixes of all outer ones."""
    prefix = ""
    for outer, inner in pairwise(apps[: apps.index(app) + 1]):
        mounts = (resource.get_info() for resource in outer.router.resources())
        prefix = next((mount.get("prefix", prefix) for mount in mounts if mount.get("app") is inner), prefix)
    return unquote(prefix)


def _http_exception(protection: Protection, refusal: TokenRejected | KeysUnavailable) -> web.HTTPException:
    status, headers, body = protection.refusal(refusal)
    return _EXCEPTIONS[status](
        headers=[(name, value) for name, value in headers if name not in _SET_BY_AIOHTTP],
        text=body.decode("ascii"),
        content_type="application/json",
    )


def _values(request: web.Request, header: str) -> list[str]:
    return list(request.headers.getall(header, ()))


def _subprotocols(request: web.Request) -> list[str]:
    """Those that a websocket offers (RFC 6455 §4.1)."""
    if request.headers.get(hdrs.UPGRADE, "").lower().strip() != "websocket":
        return []
    names = ",".join(_values(request, hdrs.SEC_WEBSOCKET_PROTOCOL)).split(",")
    return [name.strip() for name in names if name.strip()]


def _headers_with_subprotocols(request: web.Request, names: list[str]) -> CIMultiDict[str]:
    headers = request.headers.copy()
    headers[hdrs.SEC_WEBSOCKET_PROTOCOL] = ", ".join(names)
    return headers
