"""Access of a client: requested ∩ declared ∩ granted scopes, each until its last grant ends.

The operator calls `resolve` for the status, the issuer for tokens.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord

NEVER_ENDS = None


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """`granted` maps each scope to the end of its grant, or to None. `missing` is in the order of the request."""

    granted: dict[str, datetime | None]
    missing: tuple[str, ...]


def resolve(
    requested: RequestedAccess, namespace: str, client_id: str, server: ResourceServerRecord | None, now: datetime
) -> AccessDecision:
    """Return which of the requested scopes the client has at `server`.

    Clients of the server's namespace need no grant: the namespace is the trust boundary.
    """
    if server is None or not server.audience:
        return AccessDecision({}, requested.scopes)
    declared = frozenset(server.scopes)
    own = namespace == server.namespace
    grants = [] if own else [g for g in server.grants if reaches(g, namespace, client_id)]
    granted: dict[str, datetime | None] = {}
    for scope in requested.scopes:
        if scope not in declared:
            continue
        if own:
            granted[scope] = NEVER_ENDS
            continue
        ends = [g.not_after for g in grants if scope in g.scopes and (g.not_after is None or now < g.not_after)]
        if ends:
            granted[scope] = _latest(ends)
    return AccessDecision(granted, tuple(s for s in requested.scopes if s not in granted))


def reaches(grant: ResolvedGrant, namespace: str, client_id: str) -> bool:
    """Whether the grant applies to this client of this namespace."""
    return grant.everybody or namespace in grant.namespaces or client_id in grant.clients


def _latest(ends: list[datetime | None]) -> datetime | None:
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else NEVER_ENDS


def default_audience(namespace: str, name: str) -> str:
    """Return the audience of a ResourceServer that sets none. It is unique: no other ResourceServer may claim it."""
    return f"https://{name}.{namespace}.svc"


def requested_access(client: OAuthClient) -> tuple[RequestedAccess, ...]:
    """Return the access that the client requests, with at most MAX_SCOPES scopes, by `<namespace>/<name>`."""
    own = client.namespace
    return limit_scopes(
        RequestedAccess(f"{a.namespace or own}/{a.resource_server}", tuple(a.scopes)) for a in client.spec.access
    )


def limit_scopes(access: Iterable[RequestedAccess]) -> tuple[RequestedAccess, ...]:
    """Return the first MAX_SCOPES scopes: an object or record of an earlier version may have more."""
    remaining, limited = MAX_SCOPES, []
    for entry in access:
        if not remaining:
            break
        fits = len(entry.scopes) <= remaining
        limited.append(entry if fits else RequestedAccess(entry.resource_server, entry.scopes[:remaining]))
        remaining -= len(limited[-1].scopes)
    return tuple(limited)
