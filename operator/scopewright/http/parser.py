"""Parse requests: llhttp reads the grammar (RFC 9112), this module enforces limits and the rules that it omits."""

from http import HTTPStatus
from typing import Final, NoReturn

import httptools

from scopewright.http.grammar import AUTHORITY, HOST, decoded_path, number, tokens
from scopewright.http.limits import HttpLimits
from scopewright.http.messages import HEADER_COST, HttpRequest, headers_size, request_size

_VERSIONS: Final = ("1.1", "1.0")
_MAX_KEPT_LINE: Final = 256
_FRAMING: Final = (b"content-length", b"transfer-encoding")


class RequestRefused(Exception):
    """The bytes are not a request that this server accepts. Later bytes of the connection cannot be parsed."""

    def __init__(self, status: HTTPStatus, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.description = description


class _Discarding(dict[bytes, bytes]):
    """Stores nothing: trailers are ignored, up to the limit of the message."""

    def __setitem__(self, name: bytes, value: bytes) -> None:
        return


_NO_TRAILERS: Final = _Discarding()


class RequestParser:
    """Parses one connection. `requests` are complete, in order. `partial`: a request has begun and is not complete."""

    def __init__(self, limits: HttpLimits, peer: str = "") -> None:
        self.requests: list[HttpRequest] = []
        self.partial = False
        self._peer = peer
        self._chunk = 0
        self.awaits_continue = False
        """The client waits for `100 Continue` before it sends the body (RFC 9110 §10.1.1)."""
        self._limits = limits
        self._digits = len(str(limits.message))
        """A Content-Length with fewer digits is within the limit, and is not converted."""
        self._refused: RequestRefused | None = None
        self._host = b""
        """The last valid one: a client usually sends the same Host with every request."""
        self._request: HttpRequest | None = None
        """Set without its body once the head is complete."""
        self._body = b""
        self._version = ""
        self._upgrade = False
        self._reads_body_only = False
        self._line = b""
        """A request line, with CRLF. A client usually sends the same one again, whose parts need not be read then (0.6
        µs). A line with a query is not kept: it may have something secret."""
        self._line_parts = ("", "", b"")
        """Its method, path and target. The version is 1.1."""
        self._repeats_line = False
        """The request that begins with this read has that line."""
        self._llhttp = httptools.HttpRequestParser(self)
        self._begin()

    def close(self) -> None:
        """Free memory: llhttp and this object refer to each other."""
        del self._llhttp
        self._begin()
        self._request, self._body, self.partial = None, b"", False

    def _begin(self) -> None:
        """Reset the state of a request. Only attributes that a request changes: this runs for every request."""
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: list[bytes] = []
        self._fed = 0
        """Bytes that belong to this request for certain."""
        self._shared = 0
        """Bytes that were received together with other requests: an upper bound for this one."""

    @property
    def bytes_used(self) -> int:
        """Upper bound of the bytes that an incomplete request takes in memory."""
        if not self.partial:
            return 0
        if self._request is None:
            return self._fed + self._shared + HEADER_COST * (len(self._headers) + len(self._repeated))
        # llhttp's wrapper keeps an incomplete trailer, and does not report it.
        unseen = self._fed + self._shared if b"transfer-encoding" in self._request.headers else 0
        return request_size(self._request) + len(self._body) + unseen

    def feed(self, data: bytes) -> None:
        """Parse bytes. Raises `RequestRefused`; then `requests` still has those that were complete before it."""
        if self.partial:
            self._fed += len(data)
            self._check_size()
            while data:
                data = self._read(data)
            return
        length = len(data)
        self._repeats_line = bool(self._line) and data.startswith(self._line)
        while data:
            data = self._read(data)
        if self.partial:
            if self.requests:
                self._shared = length
            else:
                self._fed = length
                self._check_size()

    def _check_size(self) -> None:
        if self._request is None and self._fed > self._limits.head:
            raise _too_many_headers()
        if self._fed > self._limits.message:
            raise _too_large()

    def _read(self, data: bytes) -> bytes:
        """The bytes to parse next: none, unless llhttp stopped at an upgrade."""
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
            raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not supported") from None
        except httptools.HttpParserError:
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "this is not HTTP/1.1 (RFC 9112)") from None
        return b""

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Ignore the upgrade (RFC 9110 §7.8): parse the body as if the request did not ask for one.

        Java's HttpClient asks for HTTP/2 with every first request without TLS, and llhttp then skips the body. A new
        parser gets the framing headers only. The request keeps the version, target and headers that were parsed.
        """
        request = self._request
        if request is None or request.method == "CONNECT":
            raise RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not supported")
        options = [token for token in tokens(request.headers.get(b"connection", b"")) if token != b"upgrade"]
        lines = [b"%b / HTTP/%b" % (request.method.encode(), self._version.encode())]
        lines += [b"%b: %b" % (name, request.headers[name]) for name in _FRAMING if name in request.headers]
        if options:
            lines.append(b"connection: " + b", ".join(options))
        self._reads_body_only = True
        self._llhttp = httptools.HttpRequestParser(self)
        return b"\r\n".join([*lines, b"", bytes(rest)])

    # Called by llhttp

    def _refuse(self, refused: RequestRefused) -> NoReturn:
        """Store the exception, and raise it: llhttp raises one of its own, which may have another context."""
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
        """Called most often, so most checks are in `on_headers_complete`."""
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
            # The request exists already. These headers are its framing again, and further ones are trailers.
            self._headers, self._repeated, self._upgrade = _NO_TRAILERS, [], False
            return
        headers, limits = self._headers, self._limits
        if self._repeats_line:
            self._repeats_line, self._version, query = False, "1.1", b""
            method, path, target = self._line_parts
        else:
            method, path, query, target = self._read_line()
        host = headers.get(b"host")
        if host != self._host or b"host" in self._repeated:
            self._check_host(host)
        if len(headers) + len(self._repeated) > limits.header_count:
            self._refuse(_too_many_headers())
        if (self._fed or self._chunk > limits.headers) and headers_size(headers) > limits.headers:
            self._refuse(_too_many_headers())
        length = headers.get(b"content-length", b"")
        if len(length) >= self._digits and number(length) > limits.message:
            self._refuse(_too_large())
        if b"transfer-encoding" in headers:
            self._check_transfer_coding(headers[b"transfer-encoding"])
        if b"expect" in headers and self._version == "1.1":
            self.awaits_continue = headers[b"expect"].strip().lower() == b"100-continue"
        self._upgrade = self._llhttp.should_upgrade()
        self._request = HttpRequest(
            method, path, query, headers, b"", self._peer, self._repeated, target, self._version
        )
        # Further headers are trailers, which are ignored.
        self._headers, self._repeated = _NO_TRAILERS, []

    def _read_line(self) -> tuple[str, str, bytes, bytes]:
        """Method, path, query and target."""
        self._version = self._llhttp.get_http_version()
        if self._version != "1.1":
            self._check_version()
        method = self._llhttp.get_method()
        target = self._target
        path, _, query = target.partition(b"?")
        if not path.startswith(b"/") or b"#" in target:
            path, query = self._other_form(method.decode())
        parts = method.decode(), decoded_path(path), target
        line = b"%b %b HTTP/1.1\r\n" % (method, target)
        if self._version == "1.1" and b"?" not in target and len(line) <= _MAX_KEPT_LINE:
            self._line, self._line_parts = line, parts
        return parts[0], parts[1], query, target

    def _check_version(self) -> None:
        if self._version not in _VERSIONS:
            self._refuse(RequestRefused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "send HTTP/1.1 or HTTP/1.0"))
        if b"transfer-encoding" in self._headers:
            self._refuse(
                RequestRefused(HTTPStatus.BAD_REQUEST, "HTTP/1.0 has no transfer codings (RFC 9112, section 6.1)")
            )

    def _check_host(self, host: bytes | None) -> None:
        if host is None:
            valid = self._version == "1.0"
        else:
            valid = b"host" not in self._repeated and HOST.fullmatch(host.strip(b" \t")) is not None
        if not valid:
            self._refuse(RequestRefused(HTTPStatus.BAD_REQUEST, "send one Host header (RFC 9112, section 3.2)"))
        self._host = host or b""

    def _check_transfer_coding(self, value: bytes) -> None:
        if value.strip().lower() != b"chunked":
            self._refuse(RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "the only supported transfer coding is chunked"))

    def _other_form(self, method: str) -> tuple[bytes, bytes]:
        """Path and query of the absolute form, which a server must accept, or of `*` (RFC 9112 §3.2)."""
        target = self._target
        authority = AUTHORITY.match(target)
        if b"#" not in target and authority and HOST.fullmatch(authority[1]):
            path, _, query = target[authority.end() :].partition(b"?")
            return path or b"/", query
        if method == "CONNECT":
            self._refuse(RequestRefused(HTTPStatus.NOT_IMPLEMENTED, "this method is not supported"))
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
        request.persists = self._llhttp.should_keep_alive()
        if request.persists and self._version == "1.0":
            # llhttp only checks keep-alive here, but close takes precedence (RFC 9112 §9.3).
            request.persists = b"close" not in tokens(request.headers.get(b"connection", b""))
        self.requests.append(request)


def _too_many_headers() -> RequestRefused:
    return RequestRefused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the headers are too many or too large")


def _too_large() -> RequestRefused:
    return RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too large")
