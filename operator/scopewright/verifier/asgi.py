"""ASGI middleware: verifies the token of each request, or answers with the refusal. Needs no framework."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from scopewright.verifier.bearer import sent_token
from scopewright.verifier.check import require_scopes, required_scopes
from scopewright.verifier.frameworks import DJANGO, LITESTAR, answer_in_litestar, as_http_exception, frameworks_of
from scopewright.verifier.htu import normalised
from scopewright.verifier.paths import Scope, path_below_root, url_of
from scopewright.verifier.refusals import KeysUnavailable, Reason, TokenRejected, challenge
from scopewright.verifier.token import Token
from scopewright.verifier.verifier import Verifier

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]  # frameworks have their own types for the three

BaseUrl = str | Callable[[Scope], str]

_TOKEN_KEY = "scopewright.token"  # noqa: S105  # a key of the ASGI scope, not a token
_HANDLER_KEY = "scopewright.refusal_handler"


def require(request: Any, *scopes: str) -> Token:
    """The token of this request, if it has these scopes. `request` is an ASGI scope, or has one as `.scope`.

    Raises `TokenRejected`. Do not catch it: `RequireToken` answers with 403 (with 401 on a public path). Starlette,
    FastAPI, Litestar and Django treat it as one of their HTTP exceptions, not as an error.
    """
    scope: Scope = getattr(request, "scope", request)
    handler: _RefusalHandler | None = scope.get(_HANDLER_KEY)
    if handler is None:
        raise RuntimeError("the RequireToken middleware is missing: add it, or wrap the application in protect()")
    try:
        return _with_scopes(scope.get(_TOKEN_KEY), scopes)
    except TokenRejected as refusal:
        raise handler.refused(refusal, frameworks_of(request), scope) from None


def _with_scopes(token: Token | None, scopes: Iterable[str]) -> Token:
    if token is None:
        raise TokenRejected(Reason.MISSING)
    require_scopes(token, required_scopes(scopes))
    return token


def protect(
    app: App,
    verifier: Verifier,
    scopes: Iterable[str] = (),
    *,
    public: Iterable[str] = (),
    realm: str | None = None,
    base_url: BaseUrl | None = None,
) -> "RequireToken":
    """`app` behind a `RequireToken`."""
    return RequireToken(app, verifier, scopes=scopes, public=public, realm=realm, base_url=base_url)


class RequireToken:
    """Passes requests with a valid token to `app`, with the `Token` as `scope["scopewright.token"]`.

    Answers all other requests with 400, 401, 403 or 503, with `WWW-Authenticate` or `Retry-After` and a JSON body
    (RFC 6750 §3); websockets with the same as a denial response, or with close code 1008. Every request needs `scopes`;
    `require` adds more on a route. `public` are exact paths below the application's `root_path` that need no token.
    Put a CORS middleware outside of this one, because preflight requests carry no token.

    DPoP (RFC 9449) is accepted if `base_url` is given: the root of the application as its callers see it, such as
    `https://payroll.hr.example`, with or without the `root_path`. A request behind a proxy does not show this URL. Pass
    a function of the ASGI scope only if you know which headers your own proxy alone can set.
    """

    def __init__(
        self,
        app: App,
        verifier: Verifier,
        *,
        scopes: Iterable[str] = (),
        public: Iterable[str] = (),
        realm: str | None = None,
        base_url: BaseUrl | None = None,
    ) -> None:
        if base_url is None and verifier.dpop_required:
            raise ValueError("the verifier requires DPoP: pass base_url, such as https://payroll.hr.example")
        if isinstance(base_url, str):
            normalised(base_url)
        self.app = app
        self.verifier = verifier
        self.scopes = required_scopes(scopes)
        self.public = frozenset((public,) if isinstance(public, str) else public)
        self.realm = realm
        self.base_url = base_url
        self.offered = ("DPoP",) if verifier.dpop_required else ("Bearer", "DPoP") if base_url else ("Bearer",)
        self._schemes = ("bearer", "dpop") if base_url else ("bearer",)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            raise RuntimeError(
                f"a connection of type {scope['type']!r} cannot carry a token; http and websocket are supported"
            )
        proofs = _values(scope, b"dpop") if self.base_url is not None else []
        nonce = self.verifier.nonce() if proofs else None
        handler = _RefusalHandler(scope, send, self, nonce)
        try:
            token = None if path_below_root(scope) in self.public else await self._token(scope, proofs)
        except (TokenRejected, KeysUnavailable) as refusal:
            await handler.refuse(refusal)
            return
        await handler.run(self.app, {**scope, _TOKEN_KEY: token, _HANDLER_KEY: handler}, receive)

    async def _token(self, scope: Scope, proofs: list[str]) -> Token:
        query = scope.get("query_string", b"").decode("latin-1")
        scheme, token = sent_token(_values(scope, b"authorization"), query, self._schemes)
        if scheme == "bearer":
            return await self.verifier.verify(token, scopes=self.scopes)
        method = scope.get("method", "GET")  # a websocket's handshake has none
        url = url_of(self.base_url(scope) if callable(self.base_url) else str(self.base_url), scope)
        return await self.verifier.verify(token, scopes=self.scopes, proof=proofs, method=method, url=url)


def _values(scope: Scope, header: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == header]


class _RefusalHandler:
    """One connection. A refusal raised by `require` becomes the response, and replaces the one that the framework makes
    of the exception. Other responses of the application are not changed.
    """

    def __init__(self, scope: Scope, send: Send, middleware: RequireToken, nonce: str | None) -> None:
        self.refusal: TokenRejected | None = None
        self._frameworks: tuple[str, ...] = ()
        self._scope = scope
        self._send = send
        self._realm = middleware.realm
        self._offered = middleware.offered
        self._proof_algorithms = middleware.verifier.dpop_algorithms
        self._nonce = [(b"dpop-nonce", nonce.encode("ascii"))] if nonce else []
        self._buffered: list[Message] = []
        self._has_started = False

    def refused(self, refusal: TokenRejected, frameworks: tuple[str, ...], scope: Scope) -> TokenRejected:
        """The exception for `require` to raise. A websocket has no HTTP exceptions."""
        self._frameworks = frameworks if self._scope["type"] == "http" else ()
        refusal.proof_algorithms = self._proof_algorithms
        headers = {"WWW-Authenticate": self._challenge(refusal)}
        self.refusal = as_http_exception(refusal, self._frameworks, headers)
        if LITESTAR in self._frameworks:
            answer_in_litestar(scope, self.refusal)
        return self.refusal

    def _challenge(self, refusal: TokenRejected) -> str:
        return ", ".join(_challenges(refusal, self._realm, self._offered))

    async def run(self, app: App, scope: Scope, receive: Receive) -> None:
        try:
            await app(scope, receive, self._pass)
        except Exception as error:
            if error is not self.refusal or (self._has_started and scope["type"] == "http"):
                await self._release()
                raise
            await self.refuse(self.refusal)
        else:
            if self._buffered and self.refusal is not None and self._is_of_refusal(self._buffered[0]):
                await self.refuse(self.refusal)
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
        return message["status"] == self.refusal.status and challenge in sent

    async def _release(self) -> None:
        for message in self._buffered:
            await self._forward(message)

    async def refuse(self, refusal: TokenRejected | KeysUnavailable) -> None:
        if isinstance(refusal, TokenRejected):
            refusal.proof_algorithms = self._proof_algorithms
        if self._scope["type"] == "http":
            await self._answer("http.response", refusal)
        elif not self._has_started and "websocket.http.response" in (self._scope.get("extensions") or {}):
            await self._answer("websocket.http.response", refusal)
        else:
            reason = refusal.description[:120]
            await self._send({"type": "websocket.close", "code": 1008, "reason": reason})

    async def _answer(self, kind: str, refusal: TokenRejected | KeysUnavailable) -> None:
        status, headers, body = response(refusal, self._realm, self._offered)
        await self._send({"type": f"{kind}.start", "status": status, "headers": headers + self._nonce})
        await self._send({"type": f"{kind}.body", "body": body})


def response(
    refusal: TokenRejected | KeysUnavailable, realm: str | None = None, offered: Sequence[str] = ("Bearer",)
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and JSON body of a refusal, from a service that accepts the schemes `offered`."""
    fields: dict[str, str | None] = {"error_description": refusal.description}
    if isinstance(refusal, TokenRejected):
        fields |= {"error": refusal.error, "scope": refusal.scope}
        first = [(b"www-authenticate", value.encode("ascii")) for value in _challenges(refusal, realm, offered)]
    else:
        fields |= {"error": "temporarily_unavailable"}
        first = [(b"retry-after", str(refusal.retry_after).encode("ascii"))]
    body = json.dumps({name: value for name, value in sorted(fields.items()) if value}).encode("ascii")
    length = (b"content-length", str(len(body)).encode("ascii"))
    fixed = [(b"content-type", b"application/json"), (b"cache-control", b"no-store"), length]
    return refusal.status, [*first, *fixed], body


def _challenges(refusal: TokenRejected, realm: str | None, offered: Sequence[str]) -> list[str]:
    """A challenge for the scheme that was used, or else for the first; with 401, one for each other scheme."""
    used = refusal.scheme if refusal.scheme in offered else offered[0]
    schemes = offered if refusal.status == 401 else (used,)
    algorithms = refusal.proof_algorithms
    return [refusal.challenge(realm, s) if s == used else challenge(s, realm, {}, algorithms) for s in schemes]
