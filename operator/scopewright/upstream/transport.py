"""Connects to addresses that were checked, and to no others."""

import ssl
from typing import Final

import httpcore
import httpx

from scopewright.origins import port_of
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.addresses import Address, refusal_of
from scopewright.upstream.bounded_stream import BoundedBackend
from scopewright.upstream.resolver import Resolve

_MAX_ADDRESSES: Final = 4
"""Tried one after the other."""
_CONNECT_SECONDS: Final = 1.5
"""Of an address that is followed by another one."""


class CheckedTransport(httpx.AsyncBaseTransport):
    """Resolves the host, checks every address, and connects to one of these addresses.

    The name is resolved once for each request, so a second answer of its DNS server (DNS rebinding) is never asked for.
    `Host` and the certificate's name are those of the URL. A connection serves one request: a kept one would be found
    by its address, and its certificate could be for another name.
    """

    def __init__(self, context: ssl.SSLContext, resolve: Resolve, *, allow_loopback: bool) -> None:
        self._transport = _BoundedTransport(context)
        self._resolve = resolve
        self._allow_loopback = allow_loopback

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises `UpstreamFailed` if the addresses are not allowed, and `httpx.TransportError`."""
        *others, last = await self._checked_addresses(request.url)
        for address in others:
            try:
                return await self._transport.handle_async_request(_to(address, request, _CONNECT_SECONDS))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if certificate_error(error) is not None:
                    raise
        return await self._transport.handle_async_request(_to(last, request))

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def _checked_addresses(self, url: httpx.URL) -> tuple[Address, ...]:
        """At least one address."""
        host = _name(url)
        try:
            addresses = await self._resolve(host, port_of(url) or 0)
        except (OSError, UnicodeError):
            addresses = ()
        if not addresses:
            raise UpstreamFailed("Unreachable", f"the host name {host} cannot be resolved")
        refused = {a: why for a in addresses if (why := refusal_of(a, allow_loopback=self._allow_loopback))}
        if refused:
            # The first in this order, whatever that of the answer is: the message is in a status, which would change.
            address = min(refused, key=lambda each: (each.version, int(each)))
            raise UpstreamFailed("AddressNotAllowed", f"{host} has the address {address}, which is {refused[address]}")
        # Plain HTTP to loopback passes no network.
        if url.scheme != "https" and not (self._allow_loopback and all(each.is_loopback for each in addresses)):
            raise UpstreamFailed("AddressNotAllowed", f"{host} must be asked by https: http is for loopback only")
        return addresses[:_MAX_ADDRESSES]


class _BoundedTransport(httpx.AsyncHTTPTransport):
    """The connections of httpx over a network that is bounded, for which httpx has no parameter."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=0,
            network_backend=BoundedBackend(),
        )


def certificate_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The error of the server's certificate that caused this one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _name(url: httpx.URL) -> str:
    """The host as in the URL: `url.host` would be the decoded form of an international name."""
    return url.raw_host.decode("ascii")


def _to(address: Address, request: httpx.Request, connect_seconds: float | None = None) -> httpx.Request:
    extensions = {**request.extensions, "sni_hostname": _name(request.url)}
    if connect_seconds is not None:
        extensions["timeout"] = {**request.extensions.get("timeout", {}), "connect": connect_seconds}
    return httpx.Request(
        request.method,
        request.url.copy_with(host=str(address)),
        headers=request.headers,
        stream=request.stream,
        extensions=extensions,
    )
