"""Bytes in, requests out: llhttp reads the grammar (RFC 9112), this counts, and refuses what it leaves open."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, NoReturn
from urllib.parse import unquote_to_bytes

import httptools

from scopewright.http.limits import Limits
from scopewright.http.messages import HttpRequest

_WATCHED: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
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
        self._headers: list[tuple[bytes, bytes]] = []
        self._complete: list[tuple[bytes, bytes]] | None = None
        self._hosts = 0
        self._body = b""
        self._upgrade = False
        self._fed = 0

    def feed(self, data: bytes) -> None:
        """Take in what has come, or `Refused`; then `requests` still has those that were complete before it."""
        if self.partial:
            self._fed += len(data)
            if self._complete is None and self._fed > self._limits.head:
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
        lines = [b"%b %b HTTP/1.1" % (method, self._target)]
        lines += [b"%b: %b" % header for header in self._complete or () if header[0] not in (b"upgrade", b"expect")]
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
        """Called most often of all, so what can be checked once for all headers is checked when they are complete."""
        name = name.lower()
        self._headers.append((name, value))
        if name in _WATCHED and self._complete is None:
            self._watch(name, value.strip())

    def _watch(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self._hosts += 1
        elif name == b"content-length":
            if value.isdigit() and int(value) > self._limits.message:
                self._refuse(_too_large())
        elif name == b"expect":
            self.awaits_continue = value.lower() == b"100-continue"
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            self._refuse(Refused(HTTPStatus.NOT_IMPLEMENTED, "no transfer coding but chunked is understood"))

    def on_headers_complete(self) -> None:
        version = self._llhttp.get_http_version()
        if version not in _VERSIONS:
            self._refuse(Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP/1.1 is served"))
        if self._hosts != 1 and (version == "1.1" or self._hosts):
            self._refuse(Refused(HTTPStatus.BAD_REQUEST, "send one Host header (RFC 9112, section 3.2)"))
        limits = self._limits
        if len(self._headers) > limits.header_count:
            self._refuse(_too_many_headers())
        if (self._fed or self._chunk > limits.headers) and _size(self._headers) > limits.headers:
            self._refuse(_too_many_headers())
        self._upgrade = self._llhttp.should_upgrade()
        # What is appended from now on are trailers, and those are nobody's headers.
        self._complete, self._headers = self._headers, []

    def on_body(self, part: bytes) -> None:
        self.awaits_continue = False
        room = self._limits.body + 1 - len(self._body)
        if room > 0:
            self._body = self._body + part[:room] if self._body else part[:room]

    def on_message_complete(self) -> None:
        if self._upgrade:
            return
        self.partial = self.awaits_continue = False
        if len(self.requests) >= self._limits.pipelined:
            self._refuse(Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many requests were pipelined"))
        path, _, query = self._target.partition(b"?")
        self.requests.append(
            Parsed(
                HttpRequest(
                    self._llhttp.get_method().decode(),
                    _path(path),
                    query,
                    self._complete or (),
                    self._body,
                    self.peer,
                ),
                self._llhttp.should_keep_alive(),
                self._llhttp.get_http_version(),
            )
        )


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


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
