"""ScopeGrants as the record of their resource server has them: for clients, and for users through clients."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.api import ResourceServer, ScopeGrant
from scopewright.api.scopegrant import ClientSelection, NamespaceSelector
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord, UserGrant
from scopewright.core.users import OPENID_SCOPES

OPENID: Final = frozenset(OPENID_SCOPES)

Labels = Mapping[str, str]


def in_force(grant: ScopeGrant, now: datetime) -> bool:
    end = grant.spec.expiration_time
    return grant.metadata.deletion_timestamp is None and (end is None or now < end)


def selects(selector: NamespaceSelector, labels: Labels) -> bool:
    """Whether the selector matches a namespace with these labels; an empty selector matches none."""
    if any(labels.get(key) != value for key, value in (selector.match_labels or {}).items()):
        return False
    for e in selector.match_expressions or ():
        value, values = labels.get(e.key), e.values or ()
        matched = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }[e.operator]
        if not matched:
            return False
    return bool(selector.match_labels or selector.match_expressions)


@dataclass(frozen=True, slots=True)
class DeclaredAccess:
    """What an API declares: scopes, and roles with their scopes. A role with an undeclared scope is not among them."""

    scopes: frozenset[str]
    roles: Mapping[str, tuple[str, ...]]


def declared_access(server: ResourceServer) -> DeclaredAccess:
    scopes = frozenset(s.name for s in server.spec.scopes)
    roles = {r.name: tuple(r.scopes) for r in server.spec.roles if scopes.issuperset(r.scopes)}
    return DeclaredAccess(scopes, roles)


def declared_by_record(record: ResourceServerRecord) -> DeclaredAccess:
    return DeclaredAccess(frozenset(record.scopes), {role.name: role.scopes for role in record.roles})


def resolve_grant(grant: ScopeGrant, declared: DeclaredAccess, namespaces: Mapping[str, Labels]) -> ResolvedGrant:
    """Return `to` of the grant for the record: with namespaces in place of selectors, without undeclared scopes and
    roles.
    """
    selected = _select(grant.spec.to, namespaces)
    roles = tuple(r for r in grant.spec.roles if r in declared.roles)
    return ResolvedGrant(
        scopes=_scopes(grant, roles, declared),
        clients=selected.clients,
        namespaces=selected.namespaces,
        everybody=selected.everybody,
        not_after=grant.spec.expiration_time,
        roles=roles,
    )


def resolve_user_grants(
    grant: ScopeGrant, declared: DeclaredAccess, namespaces: Mapping[str, Labels]
) -> tuple[UserGrant, ...]:
    """Return the entries of `toUsers` for the record, like `resolve_grant`: without entries that have no effect, and
    without scopes whose names OpenID Connect reserves.
    """
    roles = tuple(r for r in grant.spec.roles if r in declared.roles and OPENID.isdisjoint(declared.roles[r]))
    scopes = tuple(s for s in _scopes(grant, roles, declared) if s not in OPENID)
    if not scopes:
        return ()
    entries = []
    for entry in grant.spec.to_users:
        selected = _select([entry.through], namespaces)
        if selected.everybody or selected.clients or selected.namespaces:
            user_grant = UserGrant(
                scopes=scopes,
                roles=roles,
                groups=tuple(sorted(entry.groups or ())),
                subjects=tuple(sorted(entry.subjects or ())),
                all_users=bool(entry.all_users),
                clients=selected.clients,
                namespaces=selected.namespaces,
                everybody=selected.everybody,
                not_after=grant.spec.expiration_time,
            )
            entries.append(user_grant)
    return tuple(entries)


def has_effect(granted: ResolvedGrant) -> bool:
    """Whether any client can have a scope by it. Records contain only such grants."""
    return bool(granted.scopes) and (granted.everybody or bool(granted.clients or granted.namespaces))


def sort_key(granted: ResolvedGrant | UserGrant) -> tuple[object, ...]:
    """Sort key of grants, so that the record does not depend on the order in which they are listed."""
    ends = granted.not_after.isoformat() if granted.not_after else ""
    users = (granted.groups, granted.subjects, granted.all_users) if isinstance(granted, UserGrant) else ()
    return (granted.scopes, granted.clients, granted.namespaces, granted.everybody, ends, granted.roles, users)


def _scopes(grant: ScopeGrant, roles: Iterable[str], declared: DeclaredAccess) -> tuple[str, ...]:
    """The declared scopes of the grant and of its roles."""
    of_roles = (scope for role in roles for scope in declared.roles[role])
    return tuple(dict.fromkeys(s for s in (*grant.spec.scopes, *of_roles) if s in declared.scopes))


@dataclass(frozen=True, slots=True)
class _Selected:
    """Clients as in a record."""

    clients: tuple[str, ...]
    namespaces: tuple[str, ...]
    everybody: bool


def _select(selections: Sequence[ClientSelection], namespaces: Mapping[str, Labels]) -> _Selected:
    clients: set[str] = set()
    named: set[str] = set()
    for selection in selections:
        if selection.namespace and selection.client:
            clients.add(f"{selection.namespace}.{selection.client}")
        elif selection.namespace:
            named.add(selection.namespace)
        elif (selector := selection.namespace_selector) is not None:
            named.update(name for name, labels in namespaces.items() if selects(selector, labels))
    return _Selected(tuple(sorted(clients)), tuple(sorted(named)), any(s.all_namespaces for s in selections))
