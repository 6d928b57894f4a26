"""Decides where the token of a request may be sent, and removes it from redirects to another origin."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import httpx

from scopewright.client.errors import invalid_request
from scopewright.origins import advice, as_argument, host_names, host_of, is_among, is_secure, port_of

Info = dict[str, Any]
_ORIGIN_HEADERS: Final = frozenset({b"authorization", b"dpop"})
_SEND_EVENT: Final = ".send_request_headers.started"


class Destinations:
    """`hosts` and `allow_http` of `ClientCredentials`. Without `hosts`, any host that the application calls."""

    def __init__(self, hosts: Iterable[str] = (), allow_http: Iterable[str] = ()) -> None:
        self.allow_http = host_names("allow_http=", allow_http)
        self.hosts = host_names("hosts=", hosts)

    def check(self, url: httpx.URL) -> None:
        """Raises `TokenError` if the token must not be sent to `url`. Its text names the argument to add."""
        if not is_secure(url, self.allow_http):
            raise invalid_request(f"no token is sent over plain HTTP to {host_of(url)}: {advice(url, self.allow_http)}")
        if self.hosts and not is_among(url, self.hosts):
            names = as_argument(self.hosts | {host_of(url)})
            raise invalid_request(f"{host_of(url)} is not one of the hosts that the token is for: pass hosts={names}")


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
            sent.headers = [(name, value) for name, value in sent.headers if name.lower() not in _ORIGIN_HEADERS]
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
