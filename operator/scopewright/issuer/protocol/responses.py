"""Requests and responses as bytes, independent of a web framework."""

import hashlib
from typing import Final

import orjson

from scopewright.http import Answer, Headers, HttpRequest

__all__ = ["JSON", "NO_STORE", "Answer", "Headers", "HttpRequest", "json_answer"]

JSON: Final = (b"content-type", b"application/json")
NO_STORE: Final[Headers] = (JSON, (b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
"""The headers of every answer to a client (RFC 6749 §5.1)."""


def json_answer(status: int, content: object, headers: Headers = NO_STORE) -> Answer:
    return Answer(status, headers, orjson.dumps(content))


def etag_of(body: bytes) -> bytes:
    return b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()


def cacheable(http: HttpRequest, body: bytes, etag: bytes, max_age: int) -> Answer:
    """JSON for caches, or 304 if the caller has this version: weak comparison (RFC 9110 §13.1.2)."""
    headers = (JSON, (b"cache-control", b"public, max-age=%d" % max_age), (b"etag", etag))
    sent = http.headers.get(b"if-none-match", b"").split(b",")
    if any(tag.strip().removeprefix(b"W/") in (etag, b"*") for tag in sent):
        return Answer(304, headers[1:], b"")
    return Answer(200, headers, body)
