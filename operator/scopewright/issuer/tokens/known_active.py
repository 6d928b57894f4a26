"""Introspections that found an active token: one that repeats is answered without parsing, hashing or checking again.

An entry is found by the SHA-256 of the body; the token itself is not kept. An entry is the answer to one caller.

What makes an entry wrong, and what notices it:

- The record of the caller, of the token's client or of its API is replaced or removed (access, grants, `servedBy`,
  DPoP, disabled): the object in the registry is another one. The caller's is compared where it is recognised.
- The issuer's record is replaced, a key is withdrawn, revoked or no longer published, or anything is revoked: issuer
  record, key set or revocation record is another object. Then all entries are dropped.
- The token expires, or a grant that it needs ends: `until`. The clock is set back: `since`.

Tokens of users and exchanged tokens are checked each time: they rely on more. So are tokens that are not active.

All callers share the memory. A caller that sends many tokens makes the requests of others slower, and nothing else.
"""

from dataclasses import dataclass
from typing import Final

from scopewright.bounded import RecentDict
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.entries import Client, ResourceServerEntry
from scopewright.issuer.state.keyring import Jwks
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.tokens.inspect import InspectedToken
from scopewright.issuer.tokens.validity import client_of, server_of

MAX_RECENT: Final = 2_048
"""Twice as many are kept at most: 4 MB of usual answers."""
MAX_ANSWER_BYTES: Final = 2_048
"""Longer answers are not kept."""


@dataclass(slots=True, eq=False)
class KnownActive:
    """An answer, and the records that it relies on. `jti` is that of the token."""

    body: bytes
    jti: str
    caller: Client
    client: Client
    server: ResourceServerEntry
    since: float
    until: float


class KnownActiveTokens:
    def __init__(self, registry: Registry, revocations: Revocations) -> None:
        self._registry = registry
        self._revocations = revocations
        self._issuer: IssuerRecord | None = None
        self._jwks: Jwks | None = None
        self._revoked: RevocationRecord | None = None
        self._known: RecentDict[bytes, KnownActive] = RecentDict(MAX_RECENT)
        """Entries that rely on the three objects above, of which the last two are large: no older one is kept alive."""

    def find(self, digest: bytes, caller: Client, now: float) -> KnownActive | None:
        """The answer to this caller, if it would be the same now. `caller` is authenticated."""
        found, registry = self._current(now).get(digest), self._registry
        if (
            found is not None
            and found.since <= now < found.until
            and found.caller is caller
            and registry.clients.get(found.client.client_id) is found.client
            and registry.servers.by_resource(found.server.audience) is found.server
        ):
            return found
        return None

    def remember(self, digest: bytes, caller: Client, inspected: InspectedToken, body: bytes, now: float) -> None:
        """Enter the answer for a token that is active now."""
        registry = self._registry
        client, server = client_of(inspected.summary, registry), server_of(inspected.summary, registry)
        if inspected.sid or len(inspected.token_chain) > 1 or len(body) > MAX_ANSWER_BYTES:
            return
        if client is None or server is None or (requested := client.requested_from(server)) is None:
            return
        until = min(inspected.expires_at, registry.access(client, requested, server, now).changes_at)
        kept = bytes(memoryview(body))  # a copy: orjson's result keeps its buffer, four times as long as most answers
        known = KnownActive(kept, inspected.summary.jti, caller, client, server, since=now, until=until)
        self._current(now)[digest] = known

    def _current(self, now: float) -> RecentDict[bytes, KnownActive]:
        """The entries, without those that rely on an earlier issuer record, key set or revocation record."""
        issuer, jwks, revoked = self._registry.issuer, self._registry.keys.jwks(now), self._revocations.record
        if issuer is not self._issuer or jwks is not self._jwks or revoked is not self._revoked:
            self._issuer, self._jwks, self._revoked = issuer, jwks, revoked
            self._known = RecentDict(MAX_RECENT)
        return self._known
