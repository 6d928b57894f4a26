"""The adapter for httpx: runs the steps of each request, and removes the token from redirects to another origin."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, Final

import httpx

from scopewright.client.request_flow import ApiResponse, SecurityHeaders, TokenSender
from scopewright.origins import port_of

Info = dict[str, Any]
_SECURITY_HEADERS: Final = frozenset({b"authorization", b"dpop"})
_SEND_EVENT: Final = ".send_request_headers.started"


class HttpxAuth(httpx.Auth):
    """Sends requests as `sender` decides. The base of `ClientCredentials`."""

    sender: TokenSender

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        stay_with_origin(request, asynchronous=True)
        steps = self.sender.flow(request.method, request.url)
        step = next(steps)
        while True:
            if isinstance(step, Future):
                answer: object = await self.sender.tokens.wait(step)
            else:
                answer = _api_response(request, (yield _with(step, request)))
            try:
                step = steps.send(answer)
            except StopIteration:
                return

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        stay_with_origin(request, asynchronous=False)
        steps = self.sender.flow(request.method, request.url)
        step = next(steps)
        while True:
            if isinstance(step, Future):
                answer: object = self.sender.tokens.wait_sync(step)
            else:
                answer = _api_response(request, (yield _with(step, request)))
            try:
                step = steps.send(answer)
            except StopIteration:
                return


def _with(headers: SecurityHeaders, request: httpx.Request) -> httpx.Request:
    request.headers.update(headers)
    return request


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


def stay_with_origin(request: httpx.Request, *, asynchronous: bool) -> None:
    """Removes token and proof of `request` from redirects to another origin."""
    application = request.extensions.get("trace")
    if not isinstance(getattr(application, "__self__", None), _StayWithOrigin):
        guard = _StayWithOrigin(request.url, application)
        request.extensions["trace"] = guard.trace_async if asynchronous else guard.trace


class _StayWithOrigin:
    """The `trace` extension of one request: httpcore calls it before it sends headers, for each redirect too.

    httpx removes `Authorization` from most redirects to another origin, and no other header. This removes
    `Authorization` and `DPoP` from all of them. The application's own trace is called afterwards.
    """

    def __init__(self, url: httpx.URL, application: Callable[[str, Info], Any] | None) -> None:
        self._origin = (url.raw_scheme, url.raw_host, port_of(url))
        self._application = application

    def trace(self, event: str, info: Info) -> Any:
        if event.endswith(_SEND_EVENT) and self._is_elsewhere(info["request"].url):
            sent = info["request"]
            sent.headers = [(name, value) for name, value in sent.headers if name.lower() not in _SECURITY_HEADERS]
        return self._application(event, info) if self._application is not None else None

    async def trace_async(self, event: str, info: Info) -> None:
        result: Awaitable[None] | None = self.trace(event, info)
        if result is not None:
            await result

    def _is_elsewhere(self, url: Any) -> bool:
        target = bytes(url.target)
        if target.startswith((b"http:", b"https:")):  # sent to a forward proxy
            final = httpx.URL(target.decode("ascii"))
            return (final.raw_scheme, final.raw_host, port_of(final)) != self._origin
        origin = url.origin  # httpcore's, with the port that the scheme implies
        return (origin.scheme, origin.host, origin.port) != self._origin
