"""Introspections that found an active token: one that repeats is answered without parsing, hashing or checking again.

An entry is found by the SHA-256 of the body; the token itself is not kept. It is the answer to one client.

What makes an entry wrong, and what notices it:

- The record of the caller, of the token's client or of its API is replaced or removed (access, grants, `servedBy`,
  DPoP, disabled): the object in the registry is another one. The caller's is compared where it is recognised.
- The issuer's record is replaced: `issuer` is no longer the registry's object.
- A key is withdrawn, revoked or no longer published: `jwks` is no longer the current key set.
- Anything is revoked: `revoked` is no longer the current revocation record; each change makes a new one.
- The token expires, or a grant that it needs ends: `until`. The clock is set back: `since`.

Tokens of users and exchanged tokens are checked each time: they rely on more. So are tokens that are not active.
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
    """An answer, and all that it relies on. `jti` is that of the token."""

    body: bytes
    jti: str
    caller: Client
    client: Client
    server: ResourceServerEntry
    issuer: IssuerRecord
    jwks: Jwks
    revoked: RevocationRecord
    since: float
    until: float


class KnownActiveTokens:
    def __init__(self, registry: Registry, revocations: Revocations) -> None:
        self._registry = registry
        self._revocations = revocations
        self._known: RecentDict[bytes, KnownActive] = RecentDict(MAX_RECENT)

    def find(self, digest: bytes, caller: Client, now: float) -> KnownActive | None:
        """The answer to this caller, if it would be the same now. `caller` is authenticated."""
        found, registry = self._known.get(digest), self._registry
        if (
            found is not None
            and found.since <= now < found.until
            and found.caller is caller
            and registry.clients.get(found.client.client_id) is found.client
            and registry.servers.by_resource(found.server.audience) is found.server
            and registry.issuer is found.issuer
            and registry.keys.jwks(now) is found.jwks
            and self._revocations.record is found.revoked
        ):
            return found
        return None

    def remember(self, digest: bytes, caller: Client, inspected: InspectedToken, body: bytes, now: float) -> None:
        """Enter the answer for a token that is active now."""
        registry = self._registry
        issuer, client = registry.issuer, client_of(inspected.summary, registry)
        server = server_of(inspected.summary, registry)
        if inspected.sid or len(inspected.token_chain) > 1 or len(body) > MAX_ANSWER_BYTES:
            return
        if issuer is None or client is None or server is None or (requested := client.requested_from(server)) is None:
            return
        until = min(inspected.expires_at, registry.access(client, requested, server, now).changes_at)
        known = (caller, client, server, issuer, registry.keys.jwks(now), self._revocations.record)
        self._known[digest] = KnownActive(body, inspected.summary.jti, *known, since=now, until=until)
