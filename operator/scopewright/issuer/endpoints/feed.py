"""The revocation feed: revoked tokens, for services that validate locally.

The feed is public: its hashes, times and key ids show how much was revoked, but not whose or what.
"""

from typing import Final

import orjson

from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.protocol.responses import Answer, HttpRequest, cacheable, etag_of
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.keyring import Keyring

MAX_AGE_SECONDS: Final = 1
"""For HTTP caches."""


class FeedEndpoint:
    """Encoded after a change, not for each request."""

    def __init__(self, revocations: Revocations, keys: Keyring) -> None:
        self._revocations = revocations
        self._keys = keys
        self._source: tuple[str, RevocationRecord, list[str]] | None = None
        self._body = b""
        self._etag = b""

    def answer(self, issuer: str, http: HttpRequest) -> Answer:
        record, kids = self._revocations.record, self._keys.revoked()
        if self._source != (source := (issuer, record, kids)):
            self._source = source
            self._body = _body(issuer, record, kids)
            self._etag = etag_of(self._body)
        return cacheable(http, self._body, self._etag, MAX_AGE_SECONDS)


def _body(issuer: str, record: RevocationRecord, kids: list[str]) -> bytes:
    """The members for users are omitted if they are empty; verifiers of earlier versions ignore them.

    Sessions are listed without their users: knowing a `sub` must not show when the user logs out.
    """
    of_users = {
        "sessions": sorted(session for sessions in record.sessions.values() for session in sessions),
        "users": record.users,
        "userAccess": record.user_access,
        "userClients": record.user_clients,
        "userTokens": record.user_tokens,
        "everyUser": record.every_user,
    }
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
            **{name: member for name, member in of_users.items() if member},
        }
    )
