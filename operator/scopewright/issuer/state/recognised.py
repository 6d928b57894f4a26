"""Credentials that were accepted: a request that repeats one is recognised, and neither decoded nor verified again.

An entry is found by the SHA-256 of the bytes that have the credential: the header Authorization, or else the whole
body. No secret is kept, and what a lookup takes depends on a digest that the caller cannot approach step by step. An
entry is made once a request was answered without a refusal; refusals are never remembered.

What makes an entry wrong, and what notices it:

- The client's record is replaced, by the watch or by a read (disabled, other secrets, method, access), or removed:
  `client` is no longer the object in the index, which frees its entries at once.
- The credential reaches its end: `until`. The clock is set back to before it was valid: `since`.
- The issuer's record is replaced (a profile that forbids the method, clock skew, clusters, URL): `issuer` is no longer
  the registry's object.
- A cluster has other keys, for a ServiceAccount token: `holds`.
- The credential may be used once (`private_key_jwt`) or must be reviewed (TokenReview): it is never entered.
- The body of one request is the header of another one: `in_header`.
- Another endpoint reads other parameters from the same body: `reader`.

Everything else is decided for each request, as without an entry: access, grants and their ends, the signing key, DPoP,
rules for headers, method and query, the caller's address.

Each client pays for its own spellings of a request: at most `MAX_OF_CLIENT` entries, of which it drops its own oldest.
Beyond the first entry of each client, all clients share `MAX_FURTHER`. So no client displaces the entry of another one.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.state.entries import Client

MAX_OF_CLIENT: Final = 8
MAX_FURTHER: Final = 4096
MAX_BODY_BYTES: Final = 4096
"""Longer bodies are not looked up: hashing them would cost more than they save."""

Holds = Callable[[], bool]


@dataclass(slots=True, eq=False)
class Authenticated:
    """An authenticated client, and the SHA-256 of the credential that it used.

    The same credential authenticates it again as long as `client` is the current record, `issuer` the current issuer
    record, `holds` returns true, and the time is from `since` to before `until` (seconds since the epoch). Without
    `issuer`, the credential has to be verified each time.
    """

    client: Client
    digest: bytes = field(repr=False)
    issuer: IssuerRecord | None = None
    until: float = 0.0
    since: float = 0.0
    holds: Holds | None = None


@dataclass(slots=True, eq=False)
class Recognised:
    """A credential that was accepted; `method` is how it was presented.

    `parameters` are what `reader` read from the body, without secrets; None if the body must be read again.
    """

    authenticated: Authenticated
    method: str
    in_header: bool
    reader: object = None
    parameters: Any = None

    @property
    def client_id(self) -> str:
        return self.authenticated.client.client_id

    @property
    def challenge(self) -> bool:
        return self.in_header


class RecognisedCredentials:
    """`current` returns the client with an id."""

    def __init__(self, current: Callable[[str], Client | None]) -> None:
        self._current = current
        self._entries: dict[bytes, Recognised] = {}
        self._further = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(
        self, authorization: bytes | None, body: bytes, issuer: IssuerRecord | None, now: float
    ) -> Recognised | None:
        """The credential of a request, if it is still valid; `issuer` is the current record."""
        if authorization is None and len(body) > MAX_BODY_BYTES:
            return None
        found = self._entries.get(_sha256(body if authorization is None else authorization))
        if found is None or found.in_header is (authorization is None):
            return None
        accepted = found.authenticated
        if (
            accepted.issuer is issuer
            and accepted.since <= now < accepted.until
            and self._current(accepted.client.client_id) is accepted.client
            and (accepted.holds is None or accepted.holds())
        ):
            return found
        return None

    def remember(
        self,
        authorization: bytes | None,
        body: bytes,
        accepted: Authenticated,
        method: str,
        reader: object,
        parameters: Any,
    ) -> None:
        """Enter the credential of a request that was answered. `parameters` have no secrets if it is in the body."""
        client = accepted.client
        if accepted.issuer is None or self._current(client.client_id) is not client:
            return
        if authorization is not None:
            key, entry = _sha256(authorization), Recognised(accepted, method, in_header=True)
        elif len(body) <= MAX_BODY_BYTES:
            key, entry = _sha256(body), Recognised(accepted, method, False, reader, parameters)
        else:
            return
        before = self._entries.get(key)
        if before is not None and before.authenticated.client is client:
            self._entries[key] = entry
            return
        while len(client.recognised) >= (MAX_OF_CLIENT if self._further < MAX_FURTHER else 1):
            self._drop_oldest(client)
        self._further += bool(client.recognised)
        client.recognised += (key,)
        self._entries[key] = entry

    def forget(self, client: Client) -> None:
        """The client's record was replaced or removed."""
        while client.recognised:
            self._drop_oldest(client)

    def _drop_oldest(self, client: Client) -> None:
        oldest, *rest = client.recognised
        client.recognised = tuple(rest)
        self._further -= bool(rest)
        self._entries.pop(oldest, None)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
