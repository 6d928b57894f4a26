"""The plan for one ScopeGrant, which is only a status, and the grant in the resource server's record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from scopewright.api import OAuthClient, ResourceServer, ScopeGrant
from scopewright.api.scopegrant import NamespaceSelector, ScopeGrantStatus
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import is_paused
from scopewright.core.plan import ConditionUpdate, Event, Plan, ready, stalled, status_plan, waiting
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord

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


def resolve_grant(grant: ScopeGrant, declared: Iterable[str], namespaces: Mapping[str, Labels]) -> ResolvedGrant:
    """Return the grant for the record: with namespaces in place of selectors, and without undeclared scopes."""
    known = frozenset(declared)
    clients: set[str] = set()
    named: set[str] = set()
    for to in grant.spec.to:
        if to.namespace and to.client:
            clients.add(f"{to.namespace}.{to.client}")
        elif to.namespace:
            named.add(to.namespace)
        elif to.namespace_selector:
            named.update(name for name, labels in namespaces.items() if selects(to.namespace_selector, labels))
    return ResolvedGrant(
        scopes=tuple(s for s in grant.spec.scopes if s in known),
        clients=tuple(sorted(clients)),
        namespaces=tuple(sorted(named)),
        everybody=any(to.all_namespaces for to in grant.spec.to),
        not_after=grant.spec.expiration_time,
    )


def has_effect(granted: ResolvedGrant) -> bool:
    """Whether any client can have a scope by it. Records contain only such grants."""
    return bool(granted.scopes) and (granted.everybody or bool(granted.clients or granted.namespaces))


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
    count = _granted_to(view)
    paused = (PAUSED,) if is_paused(grant.metadata.annotations) else ()
    conditions = (*_conditions(view, count), *paused)
    end = grant.spec.expiration_time
    due = end if end and view.now < end else None
    return status_plan(ScopeGrantStatus, grant, conditions, view.events, view.now, due=due, granted_to=count)


def _conditions(view: GrantView, count: int) -> tuple[ConditionUpdate, ...]:
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
    declared = {s.name for s in view.server.spec.scopes}
    if unknown := [s for s in spec.scopes if s not in declared]:
        message = (
            f"ResourceServer {spec.resource_server} does not declare {', '.join(unknown)}: declare it there, or remove "
            "it here; the other scopes are granted"
        )
        return stalled(Rejected("UnknownScope", message))
    if not view.reads_labels and any(to.namespace_selector for to in spec.to):
        message = (
            "the operator watches only some namespaces (watchNamespaces) and cannot read labels of namespaces: a "
            "namespaceSelector grants nothing; list the namespaces by name instead"
        )
        return stalled(Rejected("LabelsNotFollowed", message))
    if not _is_applied(view, view.server):
        message = f"ResourceServer {spec.resource_server} does not serve what this grants yet: see its status"
        return waiting("ResourceServerNotReady", message)
    return ready(
        "InForce", f"{', '.join(spec.scopes)} of {spec.resource_server}: granted to {count} clients that request it"
    )


def _is_applied(view: GrantView, server: ResourceServer) -> bool:
    """Whether the issuer's record contains the grant, so that it issues tokens by it."""
    record = view.record
    if record is None or record.uid != server.uid or not record.audience:
        return False
    granted = resolve_grant(view.grant, (s.name for s in server.spec.scopes), view.namespaces)
    return granted in record.grants or not has_effect(granted)


def _granted_to(view: GrantView) -> int:
    """Count the clients of other namespaces that request a scope and have it by this grant."""
    if view.server is None or not in_force(view.grant, view.now):
        return 0
    granted = resolve_grant(view.grant, (s.name for s in view.server.spec.scopes), view.namespaces)
    namespaces, clients, scopes = map(frozenset, (granted.namespaces, granted.clients, granted.scopes))
    owner, name = view.grant.namespace, view.grant.spec.resource_server

    def is_grantee(client: OAuthClient) -> bool:
        return granted.everybody or client.namespace in namespaces or client.client_id in clients

    def requests(client: OAuthClient) -> bool:
        return client.metadata.deletion_timestamp is None and any(
            a.resource_server == name and a.namespace == owner and not scopes.isdisjoint(a.scopes)
            for a in client.spec.access
        )

    return sum(1 for client in view.clients if client.namespace != owner and is_grantee(client) and requests(client))
