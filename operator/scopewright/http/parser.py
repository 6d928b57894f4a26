"""Bytes in, requests out: llhttp reads the grammar (RFC 9112), this counts, and refuses what it leaves open."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

import httptools

from scopewright.http.limits import HttpLimits
from scopewright.http.messages import HttpRequest

_VERSIONS: Final = ("1.1", "1.0")
_HOST: Final = re.compile(rb"(?:\[[0-9A-Za-z:.~_-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
"""uri-host [ ":" port ] (RFC 9112 §3.2, RFC 3986 §3.2.2)."""
_AUTHORITY: Final = re.compile(rb"https?://([^/?]+)(?=[/?]|$)", re.IGNORECASE)
_FRAMING: Final = (b"content-length", b"transfer-encoding")
_HEADER_COST: Final = 192
"""Bytes that a header takes in memory beside its own."""


Buffer = bytes | memoryview


@dataclass(slots=True)
class Parsed:
    """A complete request. `persists`: the client wants to send another one on this connection."""

    http: HttpRequest
    persists: bool
    version: str


class RequestRefused(Exception):
    """What came is no request that is served; nothing after it on the connection can be understood."""

    def __init__(self, status: HTTPStatus, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


class _Discarding(dict[bytes, bytes]):
    """Keeps nothing: as many trailers may come as fit into a message."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        return


_NO_TRAILERS: Final = _Discarding()


class RequestParser:
    """Of one connection. `requests` are complete and in order; `partial` is true between two bytes of a request."""

    def __init__(self, limits: HttpLimits) -> None:
        self.requests: list[Parsed] = []
        self.peer = ""
        self.partial = False
        self._chunk = 0
        self.awaits_continue = False
        """The client sends its body once it hears that it may (RFC 9110 §10.1.1)."""
        self._limits = limits
        self._digits = len(str(limits.message))
        """A length of fewer cannot be too large, and need not be read."""
        self._refused: RequestRefused | None = None
        self._host = b""
        """The last one that was valid: a client sends the same again and again."""
        self._request: HttpRequest | None = None
        """Without its body, once the head is complete."""
        self._body = b""
        self._version = ""
        self._upgrade = False
        self._reads_body_only = False
        self._llhttp = httptools.HttpRequestParser(self)
        self._begin()

    def close(self) -> None:
        """Free what is kept: llhttp and this object refer to each other."""
        del self._llhttp
        self._begin()
        self._request, self._body, self.partial = None, b"", False

    def _begin(self) -> None:
        """What a request leaves as it was found is not set again: this is on the way of each."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[bytes] = []
        self._fed = 0
        """Bytes that are known to belong to this request."""
        self._beside = 0
        """Bytes that came together with other requests: the most of them that may belong to this one."""

    @property
    def held(self) -> int:
        """The most bytes that an incomplete request takes in memory."""
        if not self.partial:
            return 0
        if self._request is None:
            return self._fed + self._beside + _HEADER_COST * (len(self._headers) + len(self._repeated))
        # A trailer that is not complete is kept by llhttp's wrapper, out of sight.
        unseen = self._fed + self._beside if b"transfer-encoding" in self._request.headers else 0
        return size(self._request) + len(self._body) + unseen

    def feed(self, data: Buffer) -> None:
        """Take in what has come, or `RequestRefused`; then `requests` still has those that were complete before it."""
        if self.partial:
            self._fed += len(data)
            self._check_size()
            while data:
                data = self._read(data)
            return
        length = len(data)
        while data:
            data = self._read(data)
        if self.partial:
            if self.requests:
                self._beside = length
            else:
                self._fed = length
                self._check_size()

    def _check_size(self) -> None:
        if self._request is None and self._fed > self._limits.head:
            raise _too_many_headers()
        if self._fed > self._limits.message:
            raise _too_large()

    def _read(self, data: Buffer) -> Buffer:
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
            raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not served") from None
        except httptools.HttpParserError:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1 (RFC 9112)") from None
        return b""

    def _without_upgrade(self, rest: Buffer) -> Buffer:
        """Nothing is upgraded (RFC 9110 §7.8), so the body is read as if the request had not asked for it.

        Java's HttpClient wishes for HTTP/2 with every first request without TLS, and llhttp then sees no body. Its
        framing alone is given to a new parser; the request stays as it was read: version, target and every header.
        """
        request = self._request
        if request is None or request.method == "CONNECT":
            raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not served")
        options = [token for token in _tokens(request.headers.get(b"connection", b"")) if token != b"upgrade"]
        lines = [b"%b / HTTP/%b" % (request.method.encode(), self._version.encode())]
        lines += [b"%b: %b" % (name, request.headers[name]) for name in _FRAMING if name in request.headers]
        if options:
            lines.append(b"connection: " + b", ".join(options))
        self._reads_body_only = True
        self._llhttp = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", bytes(rest)])

    # What llhttp calls

    def _refuse(self, refused: RequestRefused) -> NoReturn:
        """Kept as well as raised: what llhttp raises in its place has the context that Python sees fit."""
        self._refused = refused
        raise refused

    def on_message_begin(self) -> None:
        if self._reads_body_only:
            return
        self._begin()
        self.partial = True

    def on_url(self, part: bytes) -> None:
        if self._reads_body_only:
            return
        self._target += part
        if len(self._target) > self._limits.target:
            self._refuse(RequestRefused(HTTPStatus.REQUEST_URI_TOO_LONG, "the URL is too long"))

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
        if self._reads_body_only:
            # The request is there already; what was read now is its framing once more, and what comes are trailers.
            self._headers, self._repeated, self._upgrade = _NO_TRAILERS, [], False
            return
        headers, limits = self._headers, self._limits
        self._version = self._llhttp.get_http_version()
        if self._version != "1.1":
            self._check_version()
        host = headers.get(b"host")
        if host != self._host or b"host" in self._repeated:
            self._check_host(host)
        if len(headers) + len(self._repeated) > limits.header_count:
            self._refuse(_too_many_headers())
        if (self._fed or self._chunk > limits.headers) and _size(headers) > limits.headers:
            self._refuse(_too_many_headers())
        length = headers.get(b"content-length", b"")
        if len(length) >= self._digits and _number(length) > limits.message:
            self._refuse(_too_large())
        if b"transfer-encoding" in headers:
            self._check_transfer_coding(headers[b"transfer-encoding"])
        if b"expect" in headers and self._version == "1.1":
            self.awaits_continue = headers[b"expect"].strip().lower() == b"100-continue"
        method = self._llhttp.get_method().decode()
        self._upgrade = self._llhttp.should_upgrade()
        target = self._target
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/") or b"#" in target:
            path, query = self._other_form(method)
        self._request = HttpRequest(method, _decoded(path), query, headers, b"", self.peer, self._repeated, target)
        # What comes from now on are trailers, and those are nobody's headers.
        self._headers, self._repeated = _NO_TRAILERS, []

    def _check_version(self) -> None:
        if self._version not in _VERSIONS:
            self._refuse(RequestRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is served"))
        if b"transfer-encoding" in self._headers:
            self._refuse(
                RequestRefused(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no transfer codings (RFC 9112, section 6.1)")
            )

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            valid = self._version == "1.0"
        else:
            valid = b"host" not in self._repeated and _HOST.fullmatch(host.strip(b" \t")) is not None
        if not valid:
            self._refuse(RequestRefused(HTTPStatus.BAD_REQUEST, "send one Host header (RFC 9112, section 3.2)"))
        self._host = host or b""

    def _check_transfer_coding(self, value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            self._refuse(RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "no transfer coding but chunked is understood"))

    def _other_form(self, method: str) -> tuple[bytes, bytes]:
        """Path and query of the absolute form, which a server has to understand too, or of `*` (RFC 9112 §3.2)."""
        target = self._target
        authority = _AUTHORITY.match(target)
        if b"#" not in target and authority and _HOST.fullmatch(authority[1]):
            path, _, query = target[authority.end() :].partition(b"?")
            return path or b"/", query
        if method == "CONNECT":
            self._refuse(RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not served"))
        if (method, target) != ("OPTIONS", b"*"):
            self._refuse(RequestRefused(HTTPStatus.BAD_REQUEST, "send a path, or an http URL (RFC 9112, section 3.2)"))
        return target, b""

    def on_body(self, part: bytes) -> None:
        self.awaits_continue = False
        room = self._limits.body + 1 - len(self._body)
        if room > 0:
            self._body = self._body + part[:room] if self._body else part[:room]

    def on_message_complete(self) -> None:
        if self._upgrade or self._request is None:
            return
        request, self._request = self._request, None
        self.partial = self.awaits_continue = self._reads_body_only = False
        if len(self.requests) >= self._limits.pipelined:
            self._refuse(RequestRefused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests were pipelined"))
        request.body, self._body = self._body, b""
        persists = self._llhttp.should_keep_alive()
        if persists and self._version == "1.0":
            # llhttp heeds keep-alive alone there; close goes before it (RFC 9112 §9.3).
            persists = b"close" not in _tokens(request.headers.get(b"connection", b""))
        self.requests.append(Parsed(request, persists, self._version))


def size(request: HttpRequest) -> int:
    """Bytes that a request takes in memory, without its body."""
    headers = request.headers
    return len(request.target) + _size(headers) + _HEADER_COST * (len(headers) + len(request.repeated))


def _size(headers: Mapping[bytes, bytes]) -> int:
    return sum(map(len, headers)) + sum(map(len, headers.values()))


def _number(value: bytes) -> int:
    """Zero for what is none: llhttp has refused it, or will."""
    value = value.strip().lstrip(b"0")
    return int(value[:20]) if value.isdigit() else 0


def _too_many_headers() -> RequestRefused:
    return RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too many or too large")


def _too_large() -> RequestRefused:
    return RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")


def _tokens(value: bytes) -> list[bytes]:
    """Of a list such as Connection, in lower case (RFC 9110 §5.6.1)."""
    return [token for part in value.split(b",") if (token := part.strip(b" \t").lower())]


def _decoded(path: bytes) -> str:
    if b"%" in path:
        path = unquote_to_bytes(path)
    return path.decode(errors="replace")
