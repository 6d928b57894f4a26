"""The revocation feed: what services that validate locally must refuse besides what has expired.

It is public: it holds hashes, instants and key ids, which say how much was revoked, and not whose or what.
"""

import hashlib
from typing import Final

import orjson

from scopewright.core.records import RevocationRecord
from scopewright.issuer.protocol.responses import JSON, Answer, HttpRequest, not_modified
from scopewright.issuer.revocation.ended import Revocations
from scopewright.issuer.state.keyring import Keyring

MAX_AGE_SECONDS: Final = 1
"""Seconds that a cache in between may keep it."""


class FeedEndpoint:
    """Made again when something has changed, not for each of those who ask."""

    def __init__(self, revocations: Revocations, keys: Keyring) -> None:
        self._revocations = revocations
        self._keys = keys
        self._made_of: tuple[str, RevocationRecord, list[str]] | None = None
        self._body = b""
        self._etag = b""

    def answer(self, issuer: str, http: HttpRequest) -> Answer:
        record, kids = self._revocations.record, self._keys.revoked()
        if self._made_of != (made_of := (issuer, record, kids)):
            self._made_of = made_of
            self._body = _body(issuer, record, kids)
            self._etag = b'"%s"' % hashlib.sha256(self._body).hexdigest()[:32].encode()
        headers = (JSON, (b"cache-control", b"public, max-age=%d" % MAX_AGE_SECONDS), (b"etag", self._etag))
        if not_modified(http, self._etag):
            return Answer(304, headers[1:], b"")
        return Answer(200, headers, self._body)


def _body(issuer: str, record: RevocationRecord, kids: list[str]) -> bytes:
    return orjson.dumps(
        {
            "issuer": issuer,
            "tokens": record.tokens,
            "clients": record.clients,
            "access": record.access,
            "audiences": record.audiences,
            "namespaces": record.namespaces,
            "everybody": record.everybody,
            "kids": kids,
        }
    )
