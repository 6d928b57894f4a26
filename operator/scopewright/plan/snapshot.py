"""The state of an installation once reconciliation has nothing to write, and the access of clients and users then."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from scopewright.api import Kind, ScopeGrant
from scopewright.api.scopegrant import UserGrantee
from scopewright.core.access import Ends, acts_for_itself, acts_for_users, reaches, resolve, resolve_user
from scopewright.core.grants import Labels, declared_by_record, in_force, resolve_grant, resolve_user_grants
from scopewright.core.objects import Ref
from scopewright.core.plan import soonest
from scopewright.core.records.client import ClientRecord, RequestedAccess
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, UserGrant
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.users import User
from scopewright.plan.changes import EffectiveScope, GrantedUsers

AccessKey = tuple[str, str, str, bool, str]
"""Client, resource server, users, whether it is a role, and its name, as in EffectiveScope."""


@dataclass(frozen=True, slots=True)
class _NamedGrants:
    """What each ScopeGrant (`<namespace>/<name>`) on one resource server grants."""

    to_clients: tuple[tuple[str, ResolvedGrant], ...] = ()
    to_users: tuple[tuple[str, UserGrant], ...] = ()


@dataclass(frozen=True, slots=True)
class StateSnapshot:
    """Declared objects with their status, and records. `clients` are keyed by OAuthClient, `servers` by
    `<namespace>/<name>`, `keys` by kid, `providers` by name; `secrets` are those that clients mount, with the digests
    of their entries.
    """

    declared: Mapping[Ref, Kind]
    namespaces: Mapping[str, Labels]
    clients: Mapping[Ref, ClientRecord]
    servers: Mapping[str, ResourceServerRecord]
    keys: Mapping[str, KeyRecord]
    providers: Mapping[str, IdentityProviderRecord]
    namespace: str
    """The issuer's."""
    secrets: Mapping[Ref, Mapping[str, str]] = field(repr=False)
    now: datetime

    def access(self) -> dict[AccessKey, EffectiveScope]:
        """Scopes and roles that tokens may carry, by the issuer's own functions on the same records."""
        grants = self._grants()
        return {
            (e.client, e.server, str(e.users or ""), e.is_role, e.scope): e
            for record in self.clients.values()
            if not record.refused
            for requested in record.access
            if (server := self.servers.get(requested.resource_server))
            for e in self._of(record, requested, server, grants.get(requested.resource_server, _NamedGrants()))
        }

    def is_unused(self, grant: ScopeGrant, entry: UserGrantee) -> bool:
        """Whether the entry of a grant in force gives users nothing, because no client that it covers acts for users
        and asks for a scope.
        """
        server = self.servers.get(f"{grant.namespace}/{grant.spec.resource_server}")
        if server is None or not in_force(grant, self.now):
            return False
        alone = grant.model_copy(update={"spec": grant.spec.model_copy(update={"to_users": [entry]})})
        granted = resolve_user_grants(alone, declared_by_record(server), self.namespaces)
        return not any(
            acts_for_users(client.grant_types) and not client.refused and _asks_for(client, server, g.scopes)
            for g in granted
            for client in self.clients.values()
            if _reaches(g, client)
        )

    def _of(
        self, client: ClientRecord, requested: RequestedAccess, server: ResourceServerRecord, grants: _NamedGrants
    ) -> Iterator[EffectiveScope]:
        if acts_for_itself(client.grant_types):
            access = resolve(requested, client.namespace, client.client_id, server, self.now)
            own = server.namespace == client.namespace
            reaching = [(name, g) for name, g in grants.to_clients if not own and _reaches(g, client)]
            yield from _effective(client, server, access.granted, access.roles, reaching)
        if acts_for_users(client.grant_types):
            for users in _users(g for g in server.user_grants if _reaches(g, client)):
                named = tuple(g for g in server.user_grants if _names(g, users))
                only = replace(server, user_grants=named)
                user = User(users.subject, (users.group,) if users.group else ())
                of_users = resolve_user(requested, client.namespace, client.client_id, only, user, self.now)
                naming = [(name, g) for name, g in grants.to_users if _names(g, users) and _reaches(g, client)]
                yield from _effective(client, server, of_users.granted, of_users.roles, naming, users)

    def _grants(self) -> dict[str, _NamedGrants]:
        """Grants in force with their names, by resource server."""
        by_server: dict[str, _NamedGrants] = {}
        for _, grant in sorted(self.declared.items()):
            if isinstance(grant, ScopeGrant) and in_force(grant, self.now):
                server, name = f"{grant.namespace}/{grant.spec.resource_server}", f"{grant.namespace}/{grant.name}"
                if (record := self.servers.get(server)) is None:
                    continue
                declared, known = declared_by_record(record), by_server.get(server, _NamedGrants())
                to_clients = (name, resolve_grant(grant, declared, self.namespaces))
                to_users = ((name, g) for g in resolve_user_grants(grant, declared, self.namespaces))
                by_server[server] = _NamedGrants((*known.to_clients, to_clients), (*known.to_users, *to_users))
        return by_server


def _effective(
    client: ClientRecord,
    server: ResourceServerRecord,
    scopes: Ends,
    roles: Ends,
    grants: Sequence[tuple[str, ResolvedGrant | UserGrant]],
    users: GrantedUsers | None = None,
) -> Iterator[EffectiveScope]:
    """The scopes, and the roles that they complete. `grants` are those that apply, with their names."""
    of_client = f"{client.namespace}/{client.name}"
    for scope, until in scopes.items():
        via = tuple(dict.fromkeys(name for name, g in grants if scope in g.scopes))
        yield EffectiveScope(of_client, server.key, scope, via, until, users)
    for role in server.roles:
        if role.name in roles and scopes.keys() >= set(role.scopes):
            via = tuple(dict.fromkeys(name for name, g in grants if role.name in g.roles))
            until = soonest(roles[role.name], *(scopes[scope] for scope in role.scopes))
            yield EffectiveScope(of_client, server.key, role.name, via, until, users, is_role=True)


def _reaches(grant: ResolvedGrant | UserGrant, client: ClientRecord) -> bool:
    return reaches(grant, client.namespace, client.client_id)


def _asks_for(client: ClientRecord, server: ResourceServerRecord, scopes: tuple[str, ...]) -> bool:
    """Whether the client asks for any of the scopes."""
    return any(a.resource_server == server.key and not set(scopes).isdisjoint(a.scopes) for a in client.access)


def _users(grants: Iterable[UserGrant]) -> list[GrantedUsers]:
    """The users that the grants name, each once."""
    users: dict[GrantedUsers, None] = {}
    for grant in grants:
        users.update((GrantedUsers(group=group), None) for group in grant.groups)
        users.update((GrantedUsers(subject=subject), None) for subject in grant.subjects)
        if grant.all_users:
            users[GrantedUsers()] = None
    return list(users)


def _names(grant: UserGrant, users: GrantedUsers) -> bool:
    """Whether the grant names these users, rather than all of them."""
    if users.group or users.subject:
        return users.group in grant.groups or users.subject in grant.subjects
    return grant.all_users
