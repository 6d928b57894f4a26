"""The plan for one ScopeGrant (a status, nothing else), and what a grant means to the resource server's record."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from scopewright.api import OAuthClient, ResourceServer, ScopeGrant
from scopewright.api.scopegrant import NamespaceSelector, ScopeGrantStatus
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import is_paused
from scopewright.core.plan import (
    ConditionUpdate,
    Event,
    Plan,
    append_history,
    as_json,
    merge_conditions,
    ready,
    stalled,
    waiting,
)
from scopewright.core.records import ResolvedGrant, ResourceServerRecord

Labels = Mapping[str, str]


def in_force(grant: ScopeGrant, now: datetime) -> bool:
    end = grant.spec.expiration_time
    return grant.metadata.deletion_timestamp is None and (end is None or now < end)


def selects(selector: NamespaceSelector, labels: Labels) -> bool:
    """Whether the selector, which is never empty, matches a namespace with these labels."""
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
    """The grant as the issuer obeys it: selectors resolved to namespaces, unknown scopes left out."""
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
    """Whether there is a scope that anybody has by it: nothing else is put into a record."""
    return bool(granted.scopes) and (granted.everybody or bool(granted.clients or granted.namespaces))


@dataclass(frozen=True, slots=True)
class GrantView:
    """All that the status of one grant depends on. `clients` are those that ask for its resource server, `record` is
    what the issuer knows of that.
    """

    grant: ScopeGrant
    server: ResourceServer | None
    record: ResourceServerRecord | None
    clients: tuple[OAuthClient, ...]
    namespaces: Mapping[str, Labels]
    now: datetime
    beyond_limits: Rejected | None = None
    """Why it is not in force, where its namespace has too many or too large objects."""
    events: tuple[Event, ...] = ()
    follows_labels: bool = True
    """Whether the operator knows Namespaces and their labels: not where it watches some namespaces only."""


def plan_grant(view: GrantView) -> Plan:
    grant = view.grant
    count = _granted_to(view)
    previous = grant.status
    paused = (PAUSED,) if is_paused(grant.metadata.annotations) else ()
    said = (*_said(view, count), *paused)
    generation = grant.metadata.generation
    conditions, changes = merge_conditions(said, previous.conditions if previous else (), generation, view.now)
    status = ScopeGrantStatus(
        observed_generation=generation,
        granted_to=count,
        history=append_history(previous.history if previous else (), (*view.events, *changes), view.now),
        conditions=conditions,
    )
    end = grant.spec.expiration_time
    return Plan(status=as_json(status), events=changes, due=end if end and view.now < end else None)


def _said(view: GrantView, count: int) -> tuple[ConditionUpdate, ...]:
    spec = view.grant.spec
    if view.grant.metadata.deletion_timestamp:
        return deleting_conditions(view.grant.metadata, "it grants nothing")
    if not in_force(view.grant, view.now):
        return stalled(
            Rejected("Expired", f"ended at {spec.expiration_time:%FT%TZ}: delete it, or set a later expirationTime")
        )
    if view.beyond_limits:
        return stalled(view.beyond_limits)
    if view.server is None:
        message = f"no ResourceServer {spec.resource_server} in this namespace: apply it, or correct the name"
        return stalled(Rejected("ResourceServerNotFound", message))
    declared = {s.name for s in view.server.spec.scopes}
    if unknown := [s for s in spec.scopes if s not in declared]:
        message = (
            f"ResourceServer {spec.resource_server} declares no {', '.join(unknown)}: declare it there, or take it out "
            "here; the other scopes are granted"
        )
        return stalled(Rejected("UnknownScope", message))
    if not view.follows_labels and any(to.namespace_selector for to in spec.to):
        message = (
            "this platform's operator watches some namespaces only (watchNamespaces) and knows no labels: a "
            "namespaceSelector grants nothing here; name the namespaces instead"
        )
        return stalled(Rejected("LabelsNotFollowed", message))
    if not _is_obeyed(view, view.server):
        message = f"ResourceServer {spec.resource_server} does not serve what this grants yet: see its status"
        return waiting("ResourceServerNotReady", message)
    return ready("InForce", f"{', '.join(spec.scopes)} of {spec.resource_server}: {count} clients that ask have it")


def _is_obeyed(view: GrantView, server: ResourceServer) -> bool:
    """Whether the issuer knows of it: from then on it gives tokens for it."""
    record = view.record
    if record is None or record.uid != server.uid or not record.audience:
        return False
    granted = resolve_grant(view.grant, (s.name for s in server.spec.scopes), view.namespaces)
    return granted in record.grants or not has_effect(granted)


def _granted_to(view: GrantView) -> int:
    """How many clients of other namespaces ask for something that this grant gives them."""
    if view.server is None or not in_force(view.grant, view.now):
        return 0
    granted = resolve_grant(view.grant, (s.name for s in view.server.spec.scopes), view.namespaces)
    namespaces, clients, scopes = map(frozenset, (granted.namespaces, granted.clients, granted.scopes))
    owner, name = view.grant.namespace, view.grant.spec.resource_server

    def is_reached(client: OAuthClient) -> bool:
        return granted.everybody or client.namespace in namespaces or client.client_id in clients

    def asks(client: OAuthClient) -> bool:
        return client.metadata.deletion_timestamp is None and any(
            a.resource_server == name and a.namespace == owner and not scopes.isdisjoint(a.scopes)
            for a in client.spec.access
        )

    return sum(1 for client in view.clients if client.namespace != owner and is_reached(client) and asks(client))
