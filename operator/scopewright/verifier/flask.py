"""Protects a Flask application, or one of its blueprints. Refusals are werkzeug HTTPExceptions."""

import functools
import os
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Final, ParamSpec, TypeVar
from weakref import WeakSet

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import BadRequest, Forbidden, HTTPException, ServiceUnavailable, Unauthorized

from scopewright.verifier.frameworks import Refusal, refusal_as
from scopewright.verifier.protection import Protection, RefusalResponse, check_base_url
from scopewright.verifier.received import Environ, request_of_environ
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rules
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Not in flask.g, which several requests share in a test with an application context.
_TOKENS_KEY = "scopewright.tokens"  # by TokenAuth: a blueprint may have another one than its application
_AUTH_KEY = "scopewright.auth"
_HEADERS_KEY = "scopewright.headers"
_NOT_VERIFIED: Final = (
    "the request was not verified by this TokenAuth: call its init_app with the application or this blueprint"
)
_EXCEPTIONS: Final = {400: BadRequest, 401: Unauthorized, 403: Forbidden, 503: ServiceUnavailable}


class TokenAuth:
    """Verifies the token of each request, before the view: `auth.init_app(app)`.

    Every request needs a token with `scopes`, except on the paths of `public` and `optional`; also one for a path that
    does not exist, and for static files. `@auth.require` adds scopes to a view. The options mean the same as those of
    `RequireToken`; a function as `base_url` gets the WSGI environ. A CORS preflight that Flask answers itself needs no
    token, because it reaches no view; with `rules` it needs a rule for OPTIONS as any request.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        scopes: Iterable[str] = (),
        public: Iterable[str] = (),
        optional: Iterable[str] = (),
        rules: Rules | str | os.PathLike[str] | None = None,
        realm: str | None = None,
        base_url: str | Callable[[Environ], str] | None = None,
        resource_metadata: bool | ResourceMetadata | None = None,
    ) -> None:
        check_base_url(base_url)
        self.base_url = base_url
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
        self._has_rules = rules is not None
        self._undecorated: WeakSet[Callable[..., Any]] = WeakSet()

    def init_app(self, app: Flask | Blueprint) -> None:
        """Protects all requests of the application, or all views of the blueprint. Call it once for each."""
        if isinstance(app, Flask):
            self._serve_metadata_first(app.before_request_funcs)
        else:
            app.record_once(lambda state: self._serve_metadata_first(state.app.before_request_funcs))
        app.before_request(self._verify)
        app.after_request(_add_headers)

    def require(
        self, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
    ) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
        """For views, sync or async: the token needs all of `scopes`, one of `any_of` and one of `roles`.

        Write it below `@app.route`, so that the view that is registered is the protected one.
        """
        requirement = Requirement.of(scopes, any_of, roles)

        def decorate(view: Callable[_P, _R]) -> Callable[_P, _R]:
            self._undecorated.add(view)

            @functools.wraps(view)
            def protected(*args: _P.args, **kwargs: _P.kwargs) -> _R:
                self.check(requirement)
                return current_app.ensure_sync(view)(*args, **kwargs)  # type: ignore[no-any-return]

            return protected

        return decorate

    def check(self, requirement: Requirement) -> Token:
        """The token of the current request, if it meets the requirement. Raises an HTTPException."""
        token = self.current_token()
        try:
            return self.protection.check(requirement, token, request.method, request.path)
        except TokenRejected as refusal:
            raise self._http_exception(refusal) from None

    def current_token(self) -> Token | None:
        """As the function `current_token`. Raises RuntimeError if this object did not verify the request."""
        tokens: dict[TokenAuth, Token | None] = request.environ.get(_TOKENS_KEY, {})
        if self not in tokens:
            raise RuntimeError(_NOT_VERIFIED)
        return tokens[self]

    def _serve_metadata_first(self, functions: MutableMapping[Any, list[Any]]) -> None:
        """Before all functions of the application: another `TokenAuth` would ask for a token."""
        if self.protection.has_metadata:
            functions.setdefault(None, []).insert(0, self._metadata_response)

    def _metadata_response(self) -> Response | None:
        metadata = self.protection.metadata_for(request.method, request.path)
        return None if metadata is None else Response(metadata.document(), headers=metadata.headers())

    def _verify(self) -> None:
        environ = request.environ
        received = request_of_environ(environ, self.base_url)
        nonce_headers = dict(self.protection.nonce_headers(received.dpop))
        tokens = environ.setdefault(_TOKENS_KEY, {})
        tokens[self] = None
        environ.update({_AUTH_KEY: self, _HEADERS_KEY: (None, nonce_headers)})
        self._check_order_of_decorators()
        if _is_preflight() and not self._has_rules:
            return
        try:
            tokens[self] = self.protection.token_sync(received)
        except (TokenRejected, KeysUnavailable) as refusal:
            raise self._http_exception(refusal) from None

    def _check_order_of_decorators(self) -> None:
        endpoint = request.endpoint or ""
        if current_app.view_functions.get(endpoint) in self._undecorated:
            raise RuntimeError(f"view {endpoint!r} is registered without its @auth.require: write it below @app.route")

    def _http_exception(self, refusal: Refusal) -> Refusal:
        response = self.protection.refusal(refusal)
        _, nonce_headers = request.environ[_HEADERS_KEY]
        headers = self.protection.exception_headers(refusal) | nonce_headers
        request.environ[_HEADERS_KEY] = (response.status, headers)
        return refusal_as((_JsonException, _EXCEPTIONS[response.status]), refusal, response=None, answer=response)


def require(*scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None) -> Token:
    """In a view: the token of the current request, if it has all of `scopes`, one of `any_of` and one of `roles`."""
    return _current_auth().check(Requirement.of(scopes, any_of, roles))


def current_token() -> Token | None:
    """The token of the current request; None on a public path, and on an optional path if none was sent."""
    return _current_auth().current_token()


def _current_auth() -> TokenAuth:
    auth: TokenAuth | None = request.environ.get(_AUTH_KEY)
    if auth is None:
        raise RuntimeError(_NOT_VERIFIED)
    return auth


def _is_preflight() -> bool:
    """Whether Flask answers a CORS preflight itself. A view that handles OPTIONS gets only requests with a token."""
    is_answered = request.method == "OPTIONS" and getattr(request.url_rule, "provide_automatic_options", False)
    return bool(is_answered) and "Origin" in request.headers and "Access-Control-Request-Method" in request.headers


def _add_headers(response: Response) -> Response:
    """A handler for HTTPExceptions may make a response without the challenge."""
    status, headers = request.environ.get(_HEADERS_KEY, (None, {}))
    if status in (None, response.status_code):
        for name, value in headers.items():
            response.headers.setdefault(name, value)
    return response


class _JsonException(HTTPException):
    """The response is that of the other integrations."""

    answer: RefusalResponse

    def get_headers(self, environ: Any = None, scope: Any = None) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.answer.headers if name != "Content-Length"]

    def get_body(self, environ: Any = None, scope: Any = None) -> str:
        return self.answer.body.decode("ascii")
