"""The adapter for httpx: runs the steps of each request, and removes the token from redirects to another origin.

httpx follows redirects below its auth flow, and copies headers to them. httpcore calls the `trace` extension of a
request before it sends headers. There the token is removed, or the proof of a redirect within the origin is made.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, Final

import httpx

from scopewright.client.errors import raised_as
from scopewright.client.request_flow import ApiResponse, Attempt, TokenSender
from scopewright.origins import port_of

Info = dict[str, Any]
_SECURITY_HEADERS: Final = frozenset({b"authorization", b"dpop"})
_SEND_EVENT: Final = ".send_request_headers.started"


class HttpxAuth(httpx.Auth):
    """Sends requests as `sender` decides. The base of `ClientCredentials`."""

    sender: TokenSender

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        guard = guard_redirects(request, asynchronous=True)
        with raised_as(httpx.HTTPError, request=request):
            steps = self.sender.flow(request.url)
            step = next(steps)
            while True:
                if isinstance(step, Future):
                    answer: object = await self.sender.tokens.wait(step)
                else:
                    answer = _api_response(request, (yield guard.authorised(request, step)))
                try:
                    step = steps.send(answer)
                except StopIteration:
                    return

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self.sender.tokens.check_sync()
        guard = guard_redirects(request, asynchronous=False)
        with raised_as(httpx.HTTPError, request=request):
            steps = self.sender.flow(request.url)
            step = next(steps)
            while True:
                if isinstance(step, Future):
                    answer: object = self.sender.tokens.wait_sync(step)
                else:
                    answer = _api_response(request, (yield guard.authorised(request, step)))
                try:
                    step = steps.send(answer)
                except StopIteration:
                    return


def _api_response(request: httpx.Request, response: httpx.Response) -> ApiResponse:
    return ApiResponse(
        response.status_code,
        response.request.url,
        response.headers.get_list("www-authenticate"),
        response.headers.get("dpop-nonce", ""),
        _can_be_sent_again(request),
    )


def _can_be_sent_again(request: httpx.Request) -> bool:
    """False for a streamed body, which cannot be read twice."""
    try:
        _ = request.content
    except httpx.RequestNotRead:
        return False
    return True


def guard_redirects(request: httpx.Request, *, asynchronous: bool) -> "RedirectGuard":
    """The `trace` extension of `request` from now on."""
    application = request.extensions.get("trace")
    guard = getattr(application, "__self__", None)
    if not isinstance(guard, RedirectGuard):
        guard = RedirectGuard(request.url, application)
        request.extensions["trace"] = guard.trace_async if asynchronous else guard.trace
    return guard


class RedirectGuard:
    """Of one request. httpx removes `Authorization` from most redirects to another origin, and no other header. This
    removes `Authorization` and `DPoP` from all of them. The application's own trace is called afterwards.
    """

    def __init__(self, url: httpx.URL, application: Callable[[str, Info], Any] | None) -> None:
        self._origin = (url.raw_scheme, url.raw_host, port_of(url))
        self._application = application
        self._attempt: Attempt | None = None
        self._is_redirect = False
        self._has_left = False

    def authorised(self, request: httpx.Request, attempt: Attempt) -> httpx.Request:
        self._attempt, self._is_redirect, self._has_left = attempt, False, False
        request.headers.update(attempt.headers(request.method, request.url))
        return request

    def trace(self, event: str, info: Info) -> Any:
        if event.endswith(_SEND_EVENT):
            self._before_sending(info["request"])
        return self._application(event, info) if self._application is not None else None

    async def trace_async(self, event: str, info: Info) -> None:
        result: Awaitable[None] | None = self.trace(event, info)
        if result is not None:
            await result

    def _before_sending(self, sent: Any) -> None:
        if sent.method == b"CONNECT":  # to a proxy, before the request itself
            sent.headers = _without_security(sent.headers)
            return
        names = {name.lower() for name, _ in sent.headers}
        self._has_left = self._has_left or self._is_elsewhere(sent.url)
        if self._has_left:
            sent.headers = _without_security(sent.headers)
        elif self._is_redirect and b"dpop" in names and self._attempt is not None:
            fresh = self._attempt.headers(sent.method.decode("ascii"), _url_of(sent.url))
            headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in fresh.items()]
            sent.headers = _without_security(sent.headers) + headers
        self._is_redirect = True

    def _is_elsewhere(self, url: Any) -> bool:
        if bytes(url.target).startswith((b"http:", b"https:")):  # sent to a forward proxy
            final = _url_of(url)
            return (final.raw_scheme, final.raw_host, port_of(final)) != self._origin
        origin = url.origin  # httpcore's, with the port that the scheme implies
        return (origin.scheme, origin.host, origin.port) != self._origin


def _url_of(url: Any) -> httpx.URL:
    target = bytes(url.target)
    if target.startswith((b"http:", b"https:")):
        return httpx.URL(target.decode("ascii"))
    scheme, host = url.scheme.decode("ascii"), url.host.decode("ascii")
    return httpx.URL(scheme=scheme, host=host, port=url.port, raw_path=target)


def _without_security(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() not in _SECURITY_HEADERS]
