"""Bytes in, requests out: llhttp reads the grammar (RFC 9112), this counts, and refuses what it leaves open."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

import httptools

from scopewright.http.limits import Limits
from scopewright.http.messages import HttpRequest

_VERSIONS: Final = ("1.1", "1.0")


@dataclass(slots=True)
class Parsed:
    """A complete request. `persists`: the client wants to send another one on this connection."""

    http: HttpRequest
    persists: bool
    version: str


class Refused(Exception):
    """What came is no request that is served; nothing after it on the connection can be understood."""

    def __init__(self, status: HTTPStatus, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


class RequestParser:
    """Of one connection. `requests` are complete and in order; `partial` is true between two bytes of a request."""

    def __init__(self, limits: Limits) -> None:
        self.requests: list[Parsed] = []
        self.peer = ""
        self.partial = False
        self._chunk = 0
        self.awaits_continue = False
        """The client sends its body once it hears that it may (RFC 9110 §10.1.1)."""
        self._limits = limits
        self._refused: Refused | None = None
        self._llhttp = httptools.HttpRequestParser(self)
        self._begin()

    def _begin(self) -> None:
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[bytes] = []
        self._request: HttpRequest | None = None
        """Without its body, once the head is complete."""
        self._body = b""
        self._version = ""
        self._upgrade = False
        self._fed = 0

    def feed(self, data: bytes) -> None:
        """Take in what has come, or `Refused`; then `requests` still has those that were complete before it."""
        if self.partial:
            self._fed += len(data)
            if self._request is None and self._fed > self._limits.head:
                raise _too_many_headers()
            if self._fed > self._limits.message:
                raise _too_large()
        while data:
            data = self._read(data)

    def _read(self, data: bytes) -> bytes:
        """What is to be read next: nothing, unless llhttp stopped at an upgrade."""
        self._chunk = len(data)
        try:
            self._llhttp.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            if self._refused is None:
                raise
            raise self._refused from None
        except httptools.HttpParserInvalidMethodError:
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "this method is not served") from None
        except httptools.HttpParserError:
            raise Refused(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1 (RFC 9112)") from None
        return b""

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Nothing is upgraded, so the request is to be read again without its wish (RFC 9110 §7.8).

        Java's HttpClient wishes for HTTP/2 with every first request without TLS, and llhttp then sees no body.
        """
        method = self._llhttp.get_method()
        if method == b"CONNECT":
            raise Refused(HTTPStatus.NOT_IMPLEMENTED, "this method is not served")
        headers = self._request.headers if self._request else {}
        lines = [b"%b %b HTTP/1.1" % (method, self._target)]
        lines += [b"%b: %b" % header for header in headers.items() if header[0] not in (b"upgrade", b"expect")]
        self._llhttp = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", b""]) + rest

    # What llhttp calls

    def _refuse(self, refused: Refused) -> NoReturn:
        """Kept as well as raised: what llhttp raises in its place has the context that Python sees fit."""
        self._refused = refused
        raise refused

    def on_message_begin(self) -> None:
        self._begin()
        self.partial = True

    def on_url(self, part: bytes) -> None:
        self._target += part
        if len(self._target) > self._limits.target:
            self._refuse(Refused(HTTPStatus.REQUEST_URI_TOO_LONG, "the URL is too long"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called most often of all, so whatever can be is checked when all are there."""
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated.append(name)
            if len(self._repeated) > self._limits.header_count:
                self._refuse(_too_many_headers())
            value = headers[name] + b", " + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        headers, limits = self._headers, self._limits
        self._version = self._llhttp.get_http_version()
        if self._version not in _VERSIONS:
            self._refuse(Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is served"))
        if (b"host" not in headers and self._version == "1.1") or b"host" in self._repeated:
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, "send one Host header (RFC 9112, section 3.2)"))
        if len(headers) + len(self._repeated) > limits.header_count:
            self._refuse(_too_many_headers())
        if (self._fed or self._chunk > limits.headers) and _size(headers) > limits.headers:
            self._refuse(_too_many_headers())
        if b"content-length" in headers and _number(headers[b"content-length"]) > limits.message:
            self._refuse(_too_large())
        if b"transfer-encoding" in headers and headers[b"transfer-encoding"].strip().lower() != b"chunked":
            self._refuse(Refused(HTTPStatus.NOT_IMPLEMENTED, "no transfer coding but chunked is understood"))
        if b"expect" in headers:
            self.awaits_continue = headers[b"expect"].strip().lower() == b"100-continue"
        self._upgrade = self._llhttp.should_upgrade()
        path, _, query = self._target.partition(b"?")
        self._request = HttpRequest(
            self._llhttp.get_method().decode(), _path(path), query, headers, b"", self.peer, self._repeated
        )
        # What comes from now on are trailers, and those are nobody's headers.
        self._headers, self._repeated = {}, []

    def on_body(self, part: bytes) -> None:
        self.awaits_continue = False
        room = self._limits.body + 1 - len(self._body)
        if room > 0:
            self._body = self._body + part[:room] if self._body else part[:room]

    def on_message_complete(self) -> None:
        if self._upgrade or self._request is None:
            return
        self.partial = self.awaits_continue = False
        if len(self.requests) >= self._limits.pipelined:
            self._refuse(Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests were pipelined"))
        self._request.body = self._body
        self.requests.append(Parsed(self._request, self._llhttp.should_keep_alive(), self._version))


def _size(headers: Mapping[bytes, bytes]) -> int:
    return sum(map(len, headers)) + sum(map(len, headers.values()))


def _number(value: bytes) -> int:
    """Zero for what is none: llhttp has refused it, or will."""
    value = value.strip()
    return int(value) if value.isdigit() else 0


def _too_many_headers() -> Refused:
    return Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too many or too large")


def _too_large() -> Refused:
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")


def _path(target: bytes) -> str:
    """Of the origin form, or of the absolute form, which a server has to understand too (RFC 9112 §3.2)."""
    if not target.startswith(b"/") and b"://" in target:
        target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
    if b"%" in target:
        target = unquote_to_bytes(target)
    return target.decode(errors="replace")
