"""Protects a WSGI application (PEP 3333): verifies the token of each request, or answers with the refusal."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from scopewright.verifier.protection import Protection, check_base_url
from scopewright.verifier.received import Environ, request_of_environ
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.resource_metadata import ResourceMetadata
from scopewright.verifier.rules import Rules
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier

_StartResponse = Callable[..., Any]
Application = Callable[[Any, Any], Iterable[bytes]]  # servers and frameworks have their own types for the two

_TOKEN_KEY = "scopewright.token"  # noqa: S105  # a key of the environ, not a token
_HANDLED_KEY = "scopewright.handled_request"


def protect(
    app: Application,
    verifier: TokenVerifier,
    scopes: Iterable[str] = (),
    *,
    public: Iterable[str] = (),
    optional: Iterable[str] = (),
    rules: Rules | str | os.PathLike[str] | None = None,
    realm: str | None = None,
    base_url: str | Callable[[Environ], str] | None = None,
    resource_metadata: bool | ResourceMetadata | None = None,
) -> Application:
    """Passes requests with a valid token to `app`, with the `Token` as `environ["scopewright.token"]`.

    Answers all other requests with 400, 401, 403 or 503, with `WWW-Authenticate` or `Retry-After` and a JSON body
    (RFC 6750 §3). Every request needs `scopes`; `require` adds more. Put a CORS middleware outside of this one, because
    preflight requests carry no token. The options mean the same as those of `RequireToken`; patterns and rules are
    compared with PATH_INFO, and a function as `base_url` gets the environ.
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

    def protected(environ: Environ, start_response: _StartResponse) -> Iterable[bytes]:
        request = request_of_environ(environ, base_url)
        if (metadata := protection.metadata_for(request.method, request.path)) is not None:
            start_response("200 OK", metadata.headers())
            return [b"" if request.method == "HEAD" else metadata.document()]
        handled = _HandledRequest(protection, request, start_response)
        try:
            environ[_TOKEN_KEY] = protection.token_sync(request)
        except (TokenRejected, KeysUnavailable) as refusal:
            return handled.refuse(refusal)
        environ[_HANDLED_KEY] = handled
        return handled.run(app, environ)

    return protected


def require(
    request: Any, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Token:
    """The token of this request, if it has all of `scopes`, one of `any_of` and one of `roles`.

    `request` is a WSGI environ, or has one as `.environ`. Raises `TokenRejected`, which `protect` answers with 403
    (with 401 without a token). Call it before the first part of the body is sent.
    """
    environ = _environ(request)
    handled = _handled_request(environ)
    try:
        return handled.check(Requirement.of(scopes, any_of, roles), environ[_TOKEN_KEY])
    except TokenRejected as refusal:
        handled.refusal = refusal
        raise


def current_token(request: Any) -> Token | None:
    """The token of this request; None on a public path, and on an optional path if none was sent."""
    environ = _environ(request)
    _handled_request(environ)
    token: Token | None = environ[_TOKEN_KEY]
    return token


def _environ(request: Any) -> Mapping[str, Any]:
    environ: Mapping[str, Any] = getattr(request, "environ", request)
    return environ


def _handled_request(environ: Mapping[str, Any]) -> "_HandledRequest":
    handled: _HandledRequest | None = environ.get(_HANDLED_KEY)
    if handled is None:
        raise RuntimeError("the request did not pass protect(): wrap the WSGI application in it")
    return handled


class _HandledRequest:
    """One request and its response. A refusal raised by `require` becomes the response."""

    def __init__(self, protection: Protection, request: ReceivedRequest, start_response: _StartResponse) -> None:
        self.refusal: TokenRejected | None = None
        self._protection = protection
        self._nonce_headers = protection.nonce_headers(request.dpop)
        self._request = request
        self._start_response = start_response

    def check(self, requirement: Requirement, token: Token | None) -> Token:
        return self._protection.check(requirement, token, self._request.method, self._request.path or "")

    def run(self, app: Application, environ: Environ) -> Iterable[bytes]:
        try:
            body = app(environ, self._start)
            return body if _is_complete(body, environ) else _Body(self, body)
        except TokenRejected as error:
            return self.refuse_raised(error)

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        return self._start_response(status, headers + self._nonce_headers, exc_info)

    def refuse(self, refusal: TokenRejected | KeysUnavailable, exc_info: Any = None) -> list[bytes]:
        status, headers, body = self._protection.refusal(refusal)
        self._start(f"{status} {HTTPStatus(status).phrase}", headers, exc_info)
        return [b"" if self._request.method == "HEAD" else body]

    def refuse_raised(self, error: TokenRejected) -> list[bytes]:
        """Replaces a response that has begun. The server raises the error again if its headers were sent."""
        if error is not self.refusal:  # of another token, which the application verified itself
            raise error
        return self.refuse(error, sys.exc_info())


def _is_complete(body: Iterable[bytes], environ: Environ) -> bool:
    """Whether iterating cannot raise a refusal. Servers treat these types of body in a special way."""
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, list | tuple) or (isinstance(file_wrapper, type) and isinstance(body, file_wrapper))


class _Body:
    """A body that is made while it is sent."""

    def __init__(self, handled: _HandledRequest, body: Iterable[bytes]) -> None:
        self._handled = handled
        self._parts = iter(body)
        self._close = getattr(body, "close", None)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except TokenRejected as error:
            refusal = self._handled.refuse_raised(error)
            self._parts = iter(refusal[1:])
            return refusal[0]

    def close(self) -> None:
        if self._close is not None:
            self._close()
