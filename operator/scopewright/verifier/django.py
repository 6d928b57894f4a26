"""Protects a Django project: a middleware, sync and async, that `settings.SCOPEWRIGHT` configures."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.utils.log import log_response
from django.utils.module_loading import import_string

from scopewright.verifier.frameworks import refusal_as
from scopewright.verifier.protection import Protection, check_base_url
from scopewright.verifier.received import overrides_method, request_of_meta, target_path
from scopewright.verifier.received_request import ReceivedRequest
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected
from scopewright.verifier.requirement import Requirement
from scopewright.verifier.token import Token
from scopewright.verifier.token_verifier import TokenVerifier
from scopewright.verifier.verifier import Verifier

_View = TypeVar("_View", bound=Callable[..., Any])
_BaseUrl = str | Callable[[Any], str] | None

_ATTRIBUTE: Final = "scopewright_request"
_PROTECTION_KEYS: Final = ("scopes", "public", "optional", "rules", "realm", "resource_metadata")
_VERIFIER_KEYS: Final = tuple(inspect.signature(Verifier).parameters)


class _Request(Protocol):
    """An HttpRequest, or a request of Django REST framework."""

    @property
    def META(self) -> Mapping[str, Any]: ...  # noqa: N802


class TokenMiddleware:
    """Passes requests with a valid token to the view, and answers all others with 400, 401, 403 or 503 and JSON.

    `settings.SCOPEWRIGHT` is a dict: `issuer`, `audience` and other arguments of `Verifier` (or `verifier`: an
    instance, or its dotted path), and the options of `RequireToken`: `scopes`, `public`, `optional`, `rules`, `realm`,
    `base_url` and `resource_metadata`. A function as `base_url` gets the HttpRequest. A request with a verified token
    needs no CSRF token, because a browser does not add an access token by itself.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self.protection, self.base_url = _configured(getattr(settings, "SCOPEWRIGHT", None))
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if iscoroutinefunction(self):
            return self._answer_async(request)
        handled = _HandledRequest(request, self.protection, self.base_url)
        if (document := handled.metadata_response()) is not None:
            return document
        try:
            handled.accept(self.protection.token_sync(handled.received))
        except (TokenRejected, KeysUnavailable) as refusal:
            return handled.refuse(refusal)
        return handled.finish(self.get_response(request))

    async def _answer_async(self, request: HttpRequest) -> HttpResponse:
        handled = _HandledRequest(request, self.protection, self.base_url)
        if (document := handled.metadata_response()) is not None:
            return document
        try:
            handled.accept(await self.protection.token(handled.received))
        except (TokenRejected, KeysUnavailable) as refusal:
            return handled.refuse(refusal)
        return handled.finish(await self.get_response(request))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A refusal that a view raised by `require` becomes the response."""
        handled: _HandledRequest | None = getattr(request, _ATTRIBUTE, None)
        if handled is None or handled.refusal is None or exception is not handled.refusal:
            return None
        return handled.refuse(handled.refusal)


@overload
def require(
    *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Callable[[_View], _View]: ...


@overload
def require(
    request: _Request, /, *scopes: str, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None
) -> Token: ...


def require(*arguments: Any, any_of: Iterable[str] | None = None, roles: Iterable[str] | None = None) -> Any:
    """A decorator for views, sync or async; with a request as the first argument, the token of this request.

    The token needs all of the scopes, one of `any_of` and one of `roles`. The exception, `TokenRejected`, is a
    PermissionDenied for Django, and `TokenMiddleware` answers it. Decorate a class with
    `@method_decorator(require("payroll.read"), name="dispatch")`.
    """
    if arguments and not isinstance(arguments[0], str):
        request, *scopes = arguments
        return _check(request, Requirement.of(scopes, any_of, roles))
    requirement = Requirement.of(arguments, any_of, roles)
    return lambda view: _protected(view, requirement)


def current_token(request: _Request) -> Token | None:
    """The token of this request; None on a public path, and on an optional path if none was sent."""
    return _handled_request(request).token


def _protected(view: _View, requirement: Requirement) -> _View:
    @functools.wraps(view)
    def protected(request: _Request, *args: Any, **kwargs: Any) -> Any:
        _check(request, requirement)
        return view(request, *args, **kwargs)

    @functools.wraps(view)
    async def protected_async(request: _Request, *args: Any, **kwargs: Any) -> Any:
        _check(request, requirement)
        return await view(request, *args, **kwargs)

    return cast("_View", protected_async if iscoroutinefunction(view) else protected)


def _check(request: _Request, requirement: Requirement) -> Token:
    handled = _handled_request(request)
    try:
        return handled.check(requirement)
    except TokenRejected as refusal:
        handled.refusal = refusal_as((PermissionDenied,), refusal)
        raise handled.refusal from None


def _handled_request(request: Any) -> "_HandledRequest":
    if not hasattr(request, "META"):
        raise TypeError(
            f"require and current_token need a request, not {type(request).__name__}: "
            "write @require() with parentheses, and method_decorator for a method"
        )
    handled: _HandledRequest | None = getattr(request, _ATTRIBUTE, None)
    if handled is None:
        raise RuntimeError('add "scopewright.verifier.django.TokenMiddleware" to settings.MIDDLEWARE')
    return handled


class _HandledRequest:
    """One request and its response."""

    def __init__(self, request: HttpRequest, protection: Protection, base_url: _BaseUrl) -> None:
        self.token: Token | None = None
        self.refusal: TokenRejected | None = None
        self.received = _received(request, base_url)
        self._request = request
        self._protection = protection

    def metadata_response(self) -> HttpResponse | None:
        metadata = self._protection.metadata_for(self.received.method, self.received.path)
        return None if metadata is None else HttpResponse(metadata.document(), headers=dict(metadata.headers()))

    def accept(self, token: Token | None) -> None:
        self.token = token
        setattr(self._request, _ATTRIBUTE, self)
        if token is not None:
            self._request._dont_enforce_csrf_checks = True  # noqa: SLF001  # as Django's test client does

    def check(self, requirement: Requirement) -> Token:
        return self._protection.check(requirement, self.token, str(self._request.method), self._request.path)

    def refuse(self, refusal: TokenRejected | KeysUnavailable) -> HttpResponse:
        status, _, body = self._protection.refusal(refusal)
        headers = self._protection.exception_headers(refusal)
        response = HttpResponse(body, status=status, content_type="application/json", headers=headers)
        # Django logs 503 as an error, which it mails to ADMINS.
        log_response(
            "%s: %s",
            response.reason_phrase,
            self._request.path,
            response=response,
            request=self._request,
            level="warning",
        )
        return self.finish(response)

    def finish(self, response: HttpResponse) -> HttpResponse:
        for name, value in self._protection.nonce_headers(self.received.dpop):
            response[name] = value
        return response


def _received(request: HttpRequest, base_url: _BaseUrl) -> ReceivedRequest:
    """Django has decoded the paths of META."""
    scope = getattr(request, "scope", {})  # of ASGI
    raw_path = scope.get("raw_path")
    sent = target_path(request.META) if raw_path is None else raw_path.decode("latin-1").partition("?")[0]
    bound = (lambda: base_url(request)) if callable(base_url) else base_url
    received = request_of_meta(request.META, request.META.get("SCRIPT_NAME", ""), request.path_info, sent, bound)
    # In META of an ASGI request the method is in upper case, and names with underscores are omitted.
    overrides = overrides_method(name.decode("latin-1") for name, _ in scope.get("headers", ()))
    return received._replace(
        method=scope.get("method", received.method), overrides_method=received.overrides_method or overrides
    )


def _configured(setting: Any) -> tuple[Protection, _BaseUrl]:
    """Raises ImproperlyConfigured, which names the key."""
    if not isinstance(setting, Mapping):
        return _configured({"verifier": setting})
    options = dict(setting)
    base_url: _BaseUrl = options.pop("base_url", None)
    with _naming('SCOPEWRIGHT["base_url"]'):
        check_base_url(base_url)
    chosen = {key: options.pop(key) for key in _PROTECTION_KEYS if key in options}
    verifier = _existing_verifier(**options) if "verifier" in options else _new_verifier(**options)
    for key, value in chosen.items():
        with _naming(f'SCOPEWRIGHT["{key}"]'):
            Protection(verifier, dpop=True, **{key: value})
    with _naming("SCOPEWRIGHT"):
        return Protection(verifier, dpop=base_url is not None, **chosen), base_url


def _new_verifier(**options: Any) -> Verifier:
    for key in ("issuer", "audience"):
        if key not in options:
            raise ImproperlyConfigured(f'SCOPEWRIGHT["{key}"] is missing in the settings')
    for key in options:
        _require_known(key)
    with _naming("SCOPEWRIGHT"):
        return Verifier(**options)


def _require_known(key: str) -> None:
    known = {*_VERIFIER_KEYS, *_PROTECTION_KEYS, "base_url", "verifier"}
    if key not in known:
        raise ImproperlyConfigured(f'SCOPEWRIGHT["{key}"] does not exist; the keys are {", ".join(sorted(known))}')


def _existing_verifier(verifier: Any, **others: Any) -> TokenVerifier:
    for key in others:
        _require_known(key)
        raise ImproperlyConfigured(f'SCOPEWRIGHT["{key}"] cannot be combined with "verifier": pass it to the Verifier')
    with _naming("SCOPEWRIGHT"):
        found = import_string(verifier) if isinstance(verifier, str) else verifier
    if not hasattr(found, "verify_sync"):
        raise ImproperlyConfigured(
            'SCOPEWRIGHT must be a dict with "issuer" and "audience", a Verifier, or the dotted path of a Verifier'
        )
    return cast("TokenVerifier", found)


@contextlib.contextmanager
def _naming(setting: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, ImportError) as error:
        raise ImproperlyConfigured(f"{setting}: {error}") from error
