"""Access of clients and users: requested ∩ declared ∩ granted scopes, each until its last grant ends.

The operator calls `resolve` for the status, the issuer for tokens of clients. For tokens of users it calls
`resolve_user`.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from scopewright.api import OAuthClient
from scopewright.api.names import MAX_SCOPES
from scopewright.core.records.client import RequestedAccess
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, UserGrant
from scopewright.core.users import OPENID_SCOPES, User

NEVER_ENDS = None
_TOKEN_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105  # a grant type


Ends = dict[str, datetime | None]
"""When each of these scopes or roles ends; None: it does not."""


@dataclass(frozen=True, slots=True)
class AccessDecision:
    """`granted` maps each scope to the end of its grant. `missing` is in the order of the request.

    `roles` are granted roles. A token has one only with all of the role's scopes.
    """

    granted: Ends
    missing: tuple[str, ...]
    roles: Ends = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UserAccess:
    """What one user has through one client at one API. A token has a role only with all of the role's scopes."""

    granted: Ends
    roles: Ends


def resolve(
    requested: RequestedAccess, namespace: str, client_id: str, server: ResourceServerRecord | None, now: datetime
) -> AccessDecision:
    """Return which of the requested scopes the client has at `server` when it acts for itself, and its roles.

    Clients of the server's namespace need no grant: the namespace is the trust boundary.
    """
    if server is None or not server.audience:
        return AccessDecision({}, requested.scopes)
    declared = frozenset(server.scopes)
    if namespace == server.namespace:
        granted: Ends = {scope: NEVER_ENDS for scope in requested.scopes if scope in declared}
        roles: Ends = {role.name: NEVER_ENDS for role in server.roles}
    else:
        grants = [g for g in server.grants if _is_in_force(g, now) and reaches(g, namespace, client_id)]
        granted = _scope_ends([scope for scope in requested.scopes if scope in declared], grants)
        roles = _role_ends(server, grants)
    return AccessDecision(granted, tuple(s for s in requested.scopes if s not in granted), roles)


def resolve_user(
    requested: RequestedAccess,
    namespace: str,
    client_id: str,
    server: ResourceServerRecord | None,
    user: User,
    now: datetime,
) -> UserAccess:
    """Return which of the requested scopes the user has at `server` through the client, and the user's roles.

    The server's own namespace is no exception: each scope is granted by an entry of `toUsers`.
    """
    groups = frozenset(user.groups)
    return _resolve_users(requested, namespace, client_id, server, lambda g: _names(g, user.subject, groups), now)


def resolve_any_groups(
    requested: RequestedAccess,
    namespace: str,
    client_id: str,
    server: ResourceServerRecord | None,
    subject: str,
    now: datetime,
) -> UserAccess:
    """Return what the user may have, whatever their groups are: as `resolve_user` for a member of every group."""
    return _resolve_users(requested, namespace, client_id, server, lambda g: bool(g.groups) or _names(g, subject), now)


def _resolve_users(
    requested: RequestedAccess,
    namespace: str,
    client_id: str,
    server: ResourceServerRecord | None,
    names: Callable[[UserGrant], bool],
    now: datetime,
) -> UserAccess:
    if server is None or not server.audience:
        return UserAccess({}, {})
    declared = frozenset(server.scopes).difference(OPENID_SCOPES)
    grants = [g for g in server.user_grants if _is_in_force(g, now) and reaches(g, namespace, client_id) and names(g)]
    granted = _scope_ends([scope for scope in requested.scopes if scope in declared], grants)
    return UserAccess(granted, _role_ends(server, grants))


def acts_for_users(grant_types: Iterable[str]) -> bool:
    """Whether a client with these grant types has tokens of users: after a login, or by token exchange."""
    return not {"authorization_code", _TOKEN_EXCHANGE}.isdisjoint(grant_types)


def acts_for_itself(grant_types: Iterable[str]) -> bool:
    """Whether a client with these grant types has tokens without a user."""
    return not {"client_credentials", _TOKEN_EXCHANGE}.isdisjoint(grant_types)


def resolve_for_status(
    requested: RequestedAccess,
    namespace: str,
    client_id: str,
    grant_types: Collection[str],
    server: ResourceServerRecord | None,
    now: datetime,
) -> AccessDecision:
    """Return which of the requested scopes the client has by its grant types: for itself, or for at least one user."""
    granted: Ends = {}
    roles: Ends = {}
    if acts_for_itself(grant_types):
        own = resolve(requested, namespace, client_id, server, now)
        granted, roles = dict(own.granted), dict(own.roles)
    if acts_for_users(grant_types):
        of_users = _resolve_users(requested, namespace, client_id, server, lambda _: True, now)
        for ends, of_some_user in ((granted, of_users.granted), (roles, of_users.roles)):
            for name, end in of_some_user.items():
                ends[name] = _latest([ends[name], end]) if name in ends else end
    in_order = {scope: granted[scope] for scope in requested.scopes if scope in granted}
    return AccessDecision(in_order, tuple(s for s in requested.scopes if s not in granted), roles)


def reaches(grant: ResolvedGrant | UserGrant, namespace: str, client_id: str) -> bool:
    """Whether the grant applies to this client of this namespace."""
    return grant.everybody or namespace in grant.namespaces or client_id in grant.clients


def _names(grant: UserGrant, subject: str, groups: frozenset[str] = frozenset()) -> bool:
    return grant.all_users or subject in grant.subjects or not groups.isdisjoint(grant.groups)


def _is_in_force(grant: ResolvedGrant | UserGrant, now: datetime) -> bool:
    return grant.not_after is None or now < grant.not_after


def _scope_ends(scopes: Iterable[str], grants: Sequence[ResolvedGrant | UserGrant]) -> Ends:
    ends = {scope: [g.not_after for g in grants if scope in g.scopes] for scope in scopes}
    return {scope: _latest(of_scope) for scope, of_scope in ends.items() if of_scope}


def _role_ends(server: ResourceServerRecord, grants: Sequence[ResolvedGrant | UserGrant]) -> Ends:
    ends = {role.name: [g.not_after for g in grants if role.name in g.roles] for role in server.roles}
    return {role: _latest(of_role) for role, of_role in ends.items() if of_role}


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
