"""The adapter for requests: `session.auth = RequestsAuth(ClientCredentials())`.

requests applies `auth` while it prepares a request, and copies the headers of a request to its redirects. A response
hook runs after each response, and before the redirect is sent: there a refused request is repeated, and the headers of
the redirect are decided.
"""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import requests
from requests.auth import AuthBase

from scopewright.client.auth import ClientCredentials, sender_of
from scopewright.client.bodies import RequestBody
from scopewright.client.errors import TokenError, raised_as
from scopewright.client.request_flow import ApiResponse, Attempt, TokenSender, url_of
from scopewright.origins import origin

_SECURITY_HEADERS: Final = ("Authorization", "DPoP")


class RequestsAuth(AuthBase):
    """Sends the token of `credentials`. Threads may share it. Errors are both `TokenError` and `RequestException`."""

    def __init__(self, credentials: ClientCredentials) -> None:
        self._sender = sender_of(credentials, "RequestsAuth")
        self._sender.check_sync()

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        with raised_as(requests.RequestException, request=request):
            exchange = _Exchange(self._sender, request)
        request.register_hook("response", exchange.on_response)  # type: ignore[no-untyped-call]
        return request


class _Exchange:
    """One request of the application, with its repetitions and redirects."""

    def __init__(self, sender: TokenSender, request: requests.PreparedRequest) -> None:
        url = _url(request.url)
        self._tokens = sender.tokens
        self._origin = origin(url)
        self._steps = sender.flow(url)
        self._body = RequestBody(request.body)
        self._attempt: Attempt | None = None  # None: no token is sent any more
        self._has_ended = False
        self._run_to_attempt(None)
        self._set_headers(request, request)

    def __getstate__(self) -> dict[str, None]:
        """A response is pickled with its request, and a request with its hooks. The copy follows no redirect with
        a token.
        """
        return {"_attempt": None}

    def on_response(self, response: requests.Response, **how: Any) -> requests.Response:
        """A response hook. `how` are the arguments with which the request was sent. An application may send a prepared
        request several times: its redirects are checked each time.
        """
        while self._attempt is not None and not self._has_ended and not response.is_redirect:
            self._run_to_attempt(_api_response(response, self._body))
            if not self._has_ended:
                response = self._repeat(response, how)
        if response.is_redirect:
            self._authorise_redirect(response)
        return response

    def _run_to_attempt(self, answer: object) -> None:
        try:
            while isinstance(step := self._steps.send(answer), Future):
                answer = self._tokens.wait_sync(step)
        except StopIteration:
            self._has_ended = True
        else:
            self._attempt = step

    def _repeat(self, response: requests.Response, how: dict[str, Any]) -> requests.Response:
        request = response.request
        self._set_headers(request, request)
        _ = response.content  # the connection can be used again
        response.close()
        repeated: requests.Response = response.connection.send(request, **how)
        repeated.history.append(response)
        return repeated

    def _authorise_redirect(self, response: requests.Response) -> None:
        """Sets the headers that requests will copy to the redirect: none if it leads to another origin."""
        try:
            following = _following(response)
            if following is None:
                return
            if self._attempt is not None and origin(_url(following.url)) != self._origin:
                self._attempt = None
        except (ValueError, TokenError):  # a Location that cannot be read; requests raises its own error if it follows
            self._attempt, following = None, response.request
        self._set_headers(response.request, following)

    def _set_headers(self, request: requests.PreparedRequest, sent: requests.PreparedRequest) -> None:
        """Sets the headers of `request` for the method and URL of `sent`."""
        if self._attempt is not None:
            request.headers.update(self._attempt.headers(str(sent.method), _url(sent.url)))
            return
        for name in _SECURITY_HEADERS:
            request.headers.pop(name, None)


def _following(response: requests.Response) -> requests.PreparedRequest | None:
    """The request to which `response` redirects. Raises ValueError if its URL cannot be read."""
    with requests.Session() as session:
        session.trust_env = False
        redirects: Iterator[Any] = session.resolve_redirects(response, response.request, yield_requests=True)
        return next(redirects, None)


def _url(url: str | None) -> httpx.URL:
    """The URL as requests reads it, so that a token is sent to the host that was checked."""
    parts = urlsplit(url or "")
    return url_of(parts.scheme, parts.hostname or "", parts.port, parts.path, parts.query)


def _api_response(response: requests.Response, body: RequestBody) -> ApiResponse:
    return ApiResponse(
        response.status_code,
        _url(response.url),
        [response.headers.get("WWW-Authenticate", "")],
        response.headers.get("DPoP-Nonce", ""),
        can_repeat=response.status_code == 401 and body.rewind(),
    )
