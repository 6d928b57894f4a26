"""The adapter for urllib3: `TokenPoolManager(ClientCredentials())` in place of `PoolManager()`.

urllib3 repeats requests and follows redirects itself. Each of them is one call of `_make_request` of the pool of its
origin, which sets the headers: a proof is never sent twice, and another origin gets neither token nor proof.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import httpx
import urllib3
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from scopewright.client.auth import ClientCredentials, sender_of
from scopewright.client.bodies import RequestBody
from scopewright.client.errors import raised_as
from scopewright.client.request_flow import ApiResponse, Attempt, TokenSender, url_of
from scopewright.origins import origin


class _Authorised:
    """One attempt with its redirects. `answered` is the URL to which the last request was sent."""

    def __init__(self, attempt: Attempt, url: httpx.URL) -> None:
        self._attempt = attempt
        self._origin = origin(url)
        self._has_left = False
        self.answered = url

    def headers(self, method: str, url: httpx.URL) -> dict[str, str]:
        self.answered = url
        self._has_left = self._has_left or origin(url) != self._origin
        return {} if self._has_left else self._attempt.headers(method, url)


class _TokenPool(urllib3.HTTPConnectionPool):
    def _make_request(  # type: ignore[override]  # its other arguments are passed on
        self,
        conn: Any,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        authorised: _Authorised | None = None,
        **kw: Any,
    ) -> urllib3.BaseHTTPResponse:
        if authorised is not None:
            headers = urllib3.HTTPHeaderDict(headers)
            for name, value in authorised.headers(method, self._target(url)).items():
                headers[name] = value
        return super()._make_request(conn, method, url, body, headers, **kw)

    def _target(self, url: str) -> httpx.URL:
        if not url.startswith("/"):  # sent to a forward proxy
            return _parsed(url)
        path, _, query = url.partition("?")
        return url_of(str(self.scheme), self.host, self.port, path, query)


class _TokenPoolWithTLS(_TokenPool, urllib3.HTTPSConnectionPool):
    pass


class _SendsToken(urllib3.PoolManager):
    _sender: TokenSender

    def _send_token_of(self, credentials: ClientCredentials) -> None:
        self.pool_classes_by_scheme = {"http": _TokenPool, "https": _TokenPoolWithTLS}
        self._sender = sender_of(credentials, type(self).__name__)
        self._sender.check_sync()

    def urlopen(  # type: ignore[override]
        self, method: str, url: str, redirect: bool = True, **kw: Any
    ) -> urllib3.BaseHTTPResponse:
        if "authorised" in kw:  # a redirect, which PoolManager follows by this call
            return super().urlopen(method, url, redirect, **kw)
        with raised_as(HTTPError):
            return self._send(method, url, redirect, kw)

    def _send(self, method: str, url: str, redirect: bool, kw: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        target, body = _parsed(url), RequestBody(kw.get("body"))
        steps = self._sender.flow(target)
        response: urllib3.BaseHTTPResponse | None = None
        answer: object = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration:
                assert response is not None  # noqa: S101  # a flow has at least one attempt
                return response
            if isinstance(step, Future):
                answer = self._sender.tokens.wait_sync(step)
                continue
            if response is not None:
                response.drain_conn()
            authorised = _Authorised(step, target)
            response = super().urlopen(method, url, redirect, **kw, authorised=authorised)
            answer = _api_response(response, authorised.answered, body)


class TokenPoolManager(_SendsToken):
    """A `PoolManager` that sends the token of `credentials`. Threads may share it.

    Errors are both `TokenError` and `urllib3.exceptions.HTTPError`.
    """

    def __init__(
        self,
        credentials: ClientCredentials,
        num_pools: int = 10,
        headers: Mapping[str, str] | None = None,
        **connection_pool_kw: Any,
    ) -> None:
        super().__init__(num_pools, headers, **connection_pool_kw)
        self._send_token_of(credentials)


class TokenProxyManager(_SendsToken, urllib3.ProxyManager):
    """A `ProxyManager` that does the same. The proxy sees the tokens of requests over plain HTTP."""

    def __init__(
        self,
        credentials: ClientCredentials,
        proxy_url: str,
        num_pools: int = 10,
        headers: Mapping[str, str] | None = None,
        **proxy_kw: Any,
    ) -> None:
        urllib3.ProxyManager.__init__(self, proxy_url, num_pools, headers, **proxy_kw)
        self._send_token_of(credentials)


def _parsed(url: str) -> httpx.URL:
    """The URL as urllib3 reads it, so that a token is sent to the host that was checked."""
    parts = parse_url(url)
    return url_of(
        parts.scheme or "http", (parts.host or "").strip("[]"), parts.port, parts.path or "", parts.query or ""
    )


def _api_response(response: urllib3.BaseHTTPResponse, url: httpx.URL, body: RequestBody) -> ApiResponse:
    return ApiResponse(
        response.status,
        url,
        response.headers.getlist("www-authenticate"),
        response.headers.get("dpop-nonce", ""),
        can_repeat=response.status == 401 and body.rewind(),
    )
