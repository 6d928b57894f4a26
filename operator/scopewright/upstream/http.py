"""HTTP requests to a provider, with the bounds of this package."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http.cookiejar import CookieJar
from typing import Any, Final, Self

import httpx

from scopewright.http_flow import FetchError, ResponseCompressed, ResponseTooLarge, send
from scopewright.origins import HttpUrl, is_loopback
from scopewright.strict_json import json_object
from scopewright.upstream import MAX_ANSWER, TIMEOUT_SECONDS, UpstreamFailed
from scopewright.upstream.bounded_stream import AnswerTooCostly
from scopewright.upstream.resolver import Resolve, Resolver
from scopewright.upstream.transport import CheckedTransport, certificate_error

MAX_URL: Final = 2048
"""Characters."""
MAX_VALUES: Final = 10_000
"""Of a JSON answer. Each costs up to 0.5 µs, in which nothing else runs; so few are counted by their separators."""
_HEADERS: Final = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",  # a compressed answer has no bound before it is decompressed, and is refused
    "Connection": "close",
    "User-Agent": "scopewright",
}


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """An answer of at most MAX_ANSWER bytes that is not a redirect. `url` is that of the request."""

    url: str
    status: int
    content_type: str
    """Without parameters, in lower case."""
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """Raises `UpstreamFailed`."""
        if sum(map(self.body.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise UpstreamFailed("AnswerTooLarge", f"{self.url} answered with JSON of more than {MAX_VALUES} values")
        try:
            return json_object(self.body)
        except ValueError as error:
            raise UpstreamFailed("AnswerMalformed", f"{self.url} did not answer with JSON: {error}") from None

    def require_ok(self) -> Self:
        """Raises `UpstreamFailed` unless the status is 200."""
        if self.status >= 500:
            raise UpstreamFailed("Unreachable", f"{self.url} answered {self.status}; ask the provider's operators")
        if self.status != 200:
            raise UpstreamFailed("Refused", f"{self.url} answered {self.status}; check issuerURL and the provider")
        return self


class UpstreamHttp:
    """Requests to one provider: https only, except for loopback with `allow_loopback`.

    Nothing of the environment and no cookie is used. All methods raise `UpstreamFailed`.
    """

    def __init__(
        self,
        ca_certificates: str = "",
        *,
        allow_loopback: bool = False,
        resolve: Resolve | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`ca_certificates` is PEM; empty: the authorities of the system. `seconds` is the time of one request.

        `resolve` is not closed with it.
        """
        context = _context(ca_certificates)
        self._resolver: Resolver | None = None
        if resolve is None:
            resolve = self._resolver = Resolver()
        transport = CheckedTransport(context, resolve, allow_loopback=allow_loopback)
        self._seconds = seconds
        self._client = httpx.AsyncClient(
            transport=transport,
            headers=_HEADERS,
            cookies=_NoCookies(),
            timeout=seconds,
            trust_env=False,
        )

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> UpstreamAnswer:
        return await self._answer(self._client.build_request("GET", url, headers=headers))

    async def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> UpstreamAnswer:
        return await self._answer(self._client.build_request("POST", url, data=form, headers=headers))

    async def aclose(self) -> None:
        if self._resolver is not None:
            self._resolver.close()
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _answer(self, request: httpx.Request) -> UpstreamAnswer:
        url, seconds = str(request.url), self._seconds
        request.extensions["max_bytes"] = MAX_ANSWER
        try:
            async with asyncio.timeout(seconds):
                response = await send(self._client, request, time.monotonic() + seconds)
        except TimeoutError:
            raise UpstreamFailed("Unreachable", f"{url} did not answer within {seconds:g} s") from None
        except (FetchError, httpx.HTTPError) as error:
            raise _failure(url, error) from None
        status = response.status or 0
        if 300 <= status < 400:
            raise UpstreamFailed("Refused", f"{url} answered with a redirect, which is not followed; check issuerURL")
        content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return UpstreamAnswer(url, status, content_type, response.body)


class _NoCookies(CookieJar):
    """Not by a policy, which is asked after the header was parsed: in quadratic time, for `Set-Cookie2`."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        pass


def check_url(url: object, name: str, *, allow_loopback: bool) -> str:
    """Return a URL to which requests and browsers may be sent. Raises `UpstreamFailed`: `name` says which it is."""
    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
        raise UpstreamFailed("AnswerMalformed", f"{name} must be a URL of at most {MAX_URL} characters")
    try:
        parsed = HttpUrl.parse(url)
        _ = httpx.URL(url).host  # decoded for each request, which fails for `xn--a`
    except (ValueError, httpx.InvalidURL):
        message = f"{name} must be an https URL with a valid host, in ASCII and without user or fragment"
        raise UpstreamFailed("AnswerMalformed", message) from None
    if parsed.scheme != "https" and not (allow_loopback and is_loopback(parsed.host)):
        raise UpstreamFailed("AddressNotAllowed", f"{name} must be an https URL")
    return url


@lru_cache(maxsize=64)
def _context(ca_certificates: str) -> ssl.SSLContext:
    if not ca_certificates:
        context = httpx.create_ssl_context()
    else:
        try:
            context = ssl.create_default_context(cadata=ca_certificates)
        except (ssl.SSLError, TypeError, ValueError):
            message = "the certificates of caCertificateRef are not PEM: begin each with -----BEGIN CERTIFICATE-----"
            raise UpstreamFailed("CertificateInvalid", message) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _failure(url: str, error: Exception) -> UpstreamFailed:
    """Without the server's own words, which may be long and may repeat what was sent."""
    if isinstance(error, ResponseTooLarge):
        return UpstreamFailed("AnswerTooLarge", f"{url} answered with more than {MAX_ANSWER >> 20} MiB")
    if isinstance(error, ResponseCompressed):
        return UpstreamFailed("AnswerMalformed", f"{url} answered with Content-Encoding, which was not accepted")
    if isinstance(error, AnswerTooCostly):
        return UpstreamFailed("AnswerTooLarge", f"{url} answered with {error}")
    if certificate := certificate_error(error):
        reason = certificate.verify_message or "verification failed"
        message = f"the certificate of {url} is not valid: {reason}; check caCertificateRef and the provider"
        return UpstreamFailed("CertificateInvalid", message)
    if isinstance(error, httpx.TimeoutException):
        return UpstreamFailed("Unreachable", f"{url} did not answer in time")
    if isinstance(error, httpx.ConnectError):
        return UpstreamFailed("Unreachable", f"no connection to {url}")
    return UpstreamFailed("Unreachable", f"{url} did not answer with HTTP, or closed the connection")
