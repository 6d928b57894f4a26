"""What a client gets: asked ∩ declared ∩ granted, each scope until its last grant ends.

Operator and issuer both decide by `resolve`, the one for the status, the other for the token.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.core.records import RequestedAccess, ResolvedGrant, ResourceServerRecord

NEVER_ENDS = None


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """`granted` maps each scope to the instant its grant ends (None: it does not); `missing` is in the order asked."""

    granted: dict[str, datetime | None]
    missing: tuple[str, ...]


def resolve(
    asked: RequestedAccess, namespace: str, client_id: str, server: ResourceServerRecord | None, now: datetime
) -> AccessDecision:
    """What the client of `namespace` gets at `server` of the scopes it asks for.

    Clients of the server's own namespace need no grant: the namespace is the boundary of trust.
    """
    if server is None or not server.audience:
        return AccessDecision({}, asked.scopes)
    declared = frozenset(server.scopes)
    own = namespace == server.namespace
    grants = [] if own else [g for g in server.grants if reaches(g, namespace, client_id)]
    granted: dict[str, datetime | None] = {}
    for scope in asked.scopes:
        if scope not in declared:
            continue
        if own:
            granted[scope] = NEVER_ENDS
            continue
        ends = [g.not_after for g in grants if scope in g.scopes and (g.not_after is None or now < g.not_after)]
        if ends:
            granted[scope] = _latest(ends)
    return AccessDecision(granted, tuple(s for s in asked.scopes if s not in granted))


def reaches(grant: ResolvedGrant, namespace: str, client_id: str) -> bool:
    """Whether it grants something to this client of this namespace."""
    return grant.everybody or namespace in grant.namespaces or client_id in grant.clients


def _latest(ends: list[datetime | None]) -> datetime | None:
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else NEVER_ENDS


def default_audience(namespace: str, name: str) -> str:
    """Unique and owned by construction: the name of the Service that a ResourceServer usually stands for."""
    return f"https://{name}.{namespace}.svc"


def requested_access(client: OAuthClient) -> tuple[RequestedAccess, ...]:
    """What the client asks for, MAX_SCOPES scopes at most, with `<namespace>/<name>` for each resource server."""
    own = client.namespace
    return limit_scopes(
        RequestedAccess(f"{a.namespace or own}/{a.resource_server}", tuple(a.scopes)) for a in client.spec.access
    )


def limit_scopes(access: Iterable[RequestedAccess]) -> tuple[RequestedAccess, ...]:
    """The first MAX_SCOPES scopes: an object or record of an earlier version may have more."""
    left, found = MAX_SCOPES, []
    for asked in access:
        if not left:
            break
        found.append(
            asked if len(asked.scopes) <= left else RequestedAccess(asked.resource_server, asked.scopes[:left])
        )
        left -= len(found[-1].scopes)
    return tuple(found)
