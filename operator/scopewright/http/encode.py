"""Encode an Answer as an HTTP/1.1 response (RFC 9112 §4)."""

from functools import lru_cache
from http import HTTPStatus
from typing import Final

from scopewright.http.messages import Answer, Headers

CLOSE: Final = b"connection: close\r\n"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_BODILESS: Final = frozenset((int(HTTPStatus.NO_CONTENT), int(HTTPStatus.NOT_MODIFIED)))


def _new_head(status: int, headers: Headers) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase.encode()
    except ValueError:
        phrase = b""
    return b"HTTP/1.1 %d %b\r\n%b" % (status, phrase, b"".join(b"%b: %b\r\n" % header for header in headers))


_head: Final = lru_cache(maxsize=256)(_new_head)


def encode(answer: Answer, date: bytes, connection: bytes, *, head_only: bool) -> bytes:
    """`date` and `connection` are header lines, or empty. `head_only` omits the body: for HEAD (RFC 9110 §9.3.2)."""
    head = (_new_head if answer.secret else _head)(answer.status, answer.headers)
    if answer.status in _BODILESS:
        return b"%b%b%b\r\n" % (head, date, connection)
    body = b"" if head_only else answer.body
    length = b"content-length: %d\r\n\r\n" % len(answer.body)
    return b"".join((head, date, connection, length, body))
