"""The adapter for aiohttp: `ClientSession(middlewares=[token_middleware(ClientCredentials())])`.

aiohttp calls a middleware for each redirect too, with a new request. All requests of one call of the application have
the same timer, by which a redirect is recognised.
"""

from concurrent.futures import Future
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import httpx
from aiohttp import BytesPayload, ClientError, ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from yarl import URL

from scopewright.client.auth import ClientCredentials, sender_of
from scopewright.client.errors import raised_as
from scopewright.client.request_flow import ApiResponse, TokenSender, url_of
from scopewright.origins import origin

_REDIRECTS: Final = range(300, 400)


def token_middleware(credentials: ClientCredentials) -> ClientMiddlewareType:
    """A client middleware that sends the token of `credentials`. Sessions and tasks may share it.

    Errors are both `TokenError` and `aiohttp.ClientError`.
    """
    return _TokenMiddleware(sender_of(credentials, "token_middleware"))


class _Call:
    """A call of the application that was redirected: `timer` is that of its requests."""

    def __init__(self, timer: object, url: httpx.URL) -> None:
        self.timer = timer
        self._origin = origin(url)
        self._has_left = False

    def has_left(self, url: httpx.URL) -> bool:
        """Whether this or an earlier redirect leads to another origin."""
        self._has_left = self._has_left or origin(url) != self._origin
        return self._has_left


class _TokenMiddleware:
    def __init__(self, sender: TokenSender) -> None:
        self._sender = sender
        self._calls = WeakValueDictionary[int, _Call]()  # by the id of the timer, which the call keeps alive
        self._redirects = WeakKeyDictionary[ClientResponse, _Call]()  # aiohttp keeps the responses of a call

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        timer = request._timer  # noqa: SLF001  # nothing else is common to the requests of a call
        with raised_as(ClientError):
            url = _url(request.url)
            call = self._calls.get(id(timer)) or _Call(timer, url)
            response = await (handler(request) if call.has_left(url) else self._send(request, url, handler))
        if response.status in _REDIRECTS:
            self._calls[id(timer)] = self._redirects[response] = call
        return response

    async def _send(self, request: ClientRequest, url: httpx.URL, handler: ClientHandlerType) -> ClientResponse:
        steps = self._sender.flow(url)
        response: ClientResponse | None = None
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                assert response is not None  # noqa: S101  # a flow has at least one attempt
                return response
            if isinstance(step, Future):
                answer = await self._sender.tokens.wait(step)
                continue
            if response is not None:
                response.release()
            request.headers.update(step.headers(request.method, url))
            response = await handler(request)
            answer = _api_response(request, response)


def _url(url: URL) -> httpx.URL:
    """The URL as aiohttp has parsed it, so that a token is sent to the host that was checked."""
    return url_of(url.scheme, url.raw_host or "", url.port, url.raw_path, url.raw_query_string)


def _api_response(request: ClientRequest, response: ClientResponse) -> ApiResponse:
    return ApiResponse(
        response.status,
        _url(response.url),
        response.headers.getall("WWW-Authenticate", ()),
        response.headers.get("DPoP-Nonce", ""),
        can_repeat=not request.body or isinstance(request.body, BytesPayload),
    )
