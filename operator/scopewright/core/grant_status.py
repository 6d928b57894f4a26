"""The plan for one ScopeGrant, which is only a status."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from scopewright.api import OAuthClient, ResourceServer, ScopeGrant
from scopewright.api.scopegrant import ClientSelection, ScopeGrantSpec, ScopeGrantStatus, UserGrantee
from scopewright.core.access import acts_for_itself, acts_for_users, reaches
from scopewright.core.failures import Rejected
from scopewright.core.grants import (
    OPENID,
    Labels,
    declared_access,
    has_effect,
    in_force,
    resolve_grant,
    resolve_user_grants,
)
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import is_paused
from scopewright.core.plan import ConditionUpdate, Event, Plan, ready, stalled, status_plan, waiting
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.users import quoted_group

_LISTED_GROUPS: Final = 3
_MAX_USERS: Final = 256
"""Characters of status.users."""


@dataclass(frozen=True, slots=True)
class GrantView:
    """Inputs of the status of one grant: the clients that request access to its resource server, and the record of
    that server, among others.
    """

    grant: ScopeGrant
    server: ResourceServer | None
    record: ResourceServerRecord | None
    clients: tuple[OAuthClient, ...]
    namespaces: Mapping[str, Labels]
    now: datetime
    beyond_limits: Rejected | None = None
    """Why it is not in force, if its namespace exceeds its limits."""
    events: tuple[Event, ...] = ()
    """Events that no status lists yet."""
    reads_labels: bool = True
    """Whether the operator knows the labels of Namespaces; not with `watchNamespaces`."""


def plan_grant(view: GrantView) -> Plan:
    grant = view.grant
    reach = _reach(view)
    paused = (PAUSED,) if is_paused(grant.metadata.annotations) else ()
    conditions = (*_conditions(view, reach), *paused)
    end = grant.spec.expiration_time
    due = end if end and view.now < end else None
    to_users = grant.spec.to_users
    return status_plan(
        ScopeGrantStatus, grant, conditions, view.events, view.now, due=due,
        granted_to=reach.clients,
        users=users_of(to_users)[:_MAX_USERS] if to_users else None,
        applications=reach.applications if to_users else None,
    )  # fmt: skip


def users_of(entries: Iterable[UserGrantee]) -> str:
    """Name the users of some entries of `toUsers`, such as `groups hr and payroll, 2 users`."""
    return ", ".join(dict.fromkeys(_users(entry) for entry in entries))


def _users(entry: UserGrantee) -> str:
    if entry.groups:
        more = len(entry.groups) - _LISTED_GROUPS
        listed = [quoted_group(group) for group in entry.groups[: None if more <= 0 else _LISTED_GROUPS]]
        names = listed if more <= 0 else [*listed, f"{more} more"]
        in_words = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
        return f"group{'s' if len(entry.groups) > 1 else ''} {in_words}"
    if entry.subjects:
        return f"user {entry.subjects[0]}" if len(entry.subjects) == 1 else f"{len(entry.subjects)} users"
    return "all users"


@dataclass(frozen=True, slots=True)
class _Reach:
    """Numbers of clients that request a scope of the grant and have it: for themselves, and for users."""

    clients: int
    applications: int


def _conditions(view: GrantView, reach: _Reach) -> tuple[ConditionUpdate, ...]:
    spec = view.grant.spec
    if view.grant.metadata.deletion_timestamp:
        return deleting_conditions(view.grant.metadata, "it grants nothing")
    if not in_force(view.grant, view.now):
        return stalled(
            Rejected("Expired", f"expired at {spec.expiration_time:%FT%TZ}: delete it, or set a later expirationTime")
        )
    if view.beyond_limits:
        return stalled(view.beyond_limits)
    if view.server is None:
        message = f"no ResourceServer {spec.resource_server} in this namespace: apply it, or correct the name"
        return stalled(Rejected("ResourceServerNotFound", message))
    if refusal := _undeclared(view.grant, view.server):
        return stalled(refusal)
    if not view.reads_labels and any(selection.namespace_selector for selection in selections(view.grant)):
        message = (
            "the operator watches only some namespaces (watchNamespaces) and cannot read labels of namespaces: a "
            "namespaceSelector grants nothing; list the namespaces by name instead"
        )
        return stalled(Rejected("LabelsNotFollowed", message))
    if not _is_applied(view, view.server):
        message = f"ResourceServer {spec.resource_server} does not serve what this grants yet: see its status"
        return waiting("ResourceServerNotReady", message)
    return ready("InForce", f"{granted_names(spec)} of {spec.resource_server}: {_granted_to(view.grant, reach)}")


def _undeclared(grant: ScopeGrant, server: ResourceServer) -> Rejected | None:
    """Why some of the scopes or roles of the grant are not granted."""
    spec, declared, name = grant.spec, declared_access(server), grant.spec.resource_server
    if unknown := [s for s in spec.scopes if s not in declared.scopes]:
        message = (
            f"ResourceServer {name} does not declare {', '.join(unknown)}: declare it there, or remove it here; the "
            "other scopes are granted"
        )
        return Rejected("UnknownScope", message)
    roles = {role.name for role in server.spec.roles}
    if unknown := [r for r in spec.roles if r not in roles]:
        message = (
            f"ResourceServer {name} does not declare the role {', '.join(unknown)}: declare it in its spec.roles, or "
            "remove it here; what else is listed is granted"
        )
        return Rejected("UnknownRole", message)
    if incomplete := [r for r in spec.roles if r not in declared.roles]:
        message = (
            f"the role {', '.join(incomplete)} of ResourceServer {name} has scopes that are not declared there, and is "
            "not granted: see the status of the ResourceServer"
        )
        return Rejected("UnknownScope", message)
    of_roles = [scope for role in spec.roles for scope in declared.roles[role]]
    reserved = sorted(OPENID.intersection((*spec.scopes, *of_roles)))
    if spec.to_users and reserved:
        message = (
            f"{', '.join(reserved)} is reserved by OpenID Connect, and not granted to users: declare the scope under "
            "another name; the other scopes are granted"
        )
        return Rejected("ReservedScope", message)
    return None


def granted_names(spec: ScopeGrantSpec) -> str:
    """The scopes and roles of the grant, in one list."""
    return ", ".join((*spec.scopes, *(f"role {role}" for role in spec.roles)))


def _granted_to(grant: ScopeGrant, reach: _Reach) -> str:
    to = f"to {reach.clients} clients that request it" if grant.spec.to else ""
    through = f"through {reach.applications} clients that act for users and request it"
    users = f"to {users_of(grant.spec.to_users)} {through}" if grant.spec.to_users else ""
    return f"granted {' and '.join(filter(None, (to, users)))}"


def selections(grant: ScopeGrant) -> Iterator[ClientSelection]:
    """Every selection of clients in the grant: in `to`, and in `through` of `toUsers`."""
    yield from grant.spec.to
    yield from (entry.through for entry in grant.spec.to_users)


def _is_applied(view: GrantView, server: ResourceServer) -> bool:
    """Whether the issuer's record contains the grant, so that it issues tokens by it."""
    record = view.record
    if record is None or record.uid != server.uid or not record.audience:
        return False
    declared = declared_access(server)
    granted = resolve_grant(view.grant, declared, view.namespaces)
    to_users = resolve_user_grants(view.grant, declared, view.namespaces)
    return (granted in record.grants or not has_effect(granted)) and set(to_users) <= set(record.user_grants)


def _reach(view: GrantView) -> _Reach:
    if view.server is None or not in_force(view.grant, view.now):
        return _Reach(0, 0)
    declared = declared_access(view.server)
    granted = resolve_grant(view.grant, declared, view.namespaces)
    to_users = resolve_user_grants(view.grant, declared, view.namespaces)
    owner, name = view.grant.namespace, view.grant.spec.resource_server
    scopes = frozenset(granted.scopes)
    requesting = [
        client
        for client in view.clients
        if client.metadata.deletion_timestamp is None
        and any(
            a.resource_server == name and (a.namespace or client.namespace) == owner and not scopes.isdisjoint(a.scopes)
            for a in client.spec.access
        )
    ]

    def is_grantee(client: OAuthClient) -> bool:
        is_other = client.namespace != owner and acts_for_itself(client.spec.grant_types)
        return is_other and reaches(granted, client.namespace, client.client_id)

    def is_application(client: OAuthClient) -> bool:
        return acts_for_users(client.spec.grant_types) and any(
            reaches(g, client.namespace, client.client_id) for g in to_users
        )

    return _Reach(clients=sum(map(is_grantee, requesting)), applications=sum(map(is_application, requesting)))
