"""Compares two snapshots: scopes gained and lost, and changes of credentials, keys, Secrets and objects."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from scopewright.api import Kind, ScopeGrant
from scopewright.api.scopegrant import ClientSelection
from scopewright.core.access import acts_for_itself, acts_for_users
from scopewright.core.grant_status import granted_names, users_of
from scopewright.core.objects import Ref
from scopewright.core.plan import Event
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.signing_key import KeyRecord
from scopewright.plan.callers import CallerIndex
from scopewright.plan.changes import AccessChange, EffectiveScope, Finding, ObjectChange, PlanResult, RequestChange
from scopewright.plan.findings import marked_new, refusals, warnings
from scopewright.plan.logins import login_changes
from scopewright.plan.providers import provider_changes
from scopewright.plan.requests import RequestChanges, request_changes
from scopewright.plan.snapshot import AccessKey, StateSnapshot

EventsByObject = Mapping[Ref, Sequence[Event]]
"""Events between the two snapshots, by object."""

Access = Mapping[AccessKey, EffectiveScope]

_CREDENTIAL: Final = "Credential"
_REVOKED: Final = ("CredentialRevoked", "KeysRevoked")


def difference(
    before: StateSnapshot, after: StateSnapshot, events: EventsByObject, retried: Sequence[Finding] = ()
) -> PlanResult:
    """`retried` are warnings for objects that could not be reconciled."""
    had, has = before.access(), after.access()
    requests = request_changes(before.servers, after.servers, CallerIndex(had.values()), CallerIndex(has.values()))
    return PlanResult(
        refusals=marked_new(refusals(after), refusals(before)),
        warnings=(*marked_new(warnings(after), warnings(before)), *_uncompared(requests), *retried),
        access=tuple(_access(had, has, after)),
        requests=tuple(sorted(requests.changes, key=_by_rule)),
        logins=(*provider_changes(before, after), *login_changes(before.clients, after.clients)),
        credentials=tuple(_credentials(before, after, events)),
        keys=tuple(_keys(before, after, events)),
        secrets=tuple(_secrets(before, after)),
        objects=tuple(_objects(before, after)),
    )


# Access


def _access(had: Access, has: Access, after: StateSnapshot) -> Iterator[AccessChange]:
    for holding in sorted(had.keys() | has.keys()):
        old, new = had.get(holding), has.get(holding)
        if new is None and old is not None:
            yield AccessChange(old, None, _reason_for_loss(old, after))
        elif old is None or (new is not None and old.until != new.until):
            yield AccessChange(old, new)


def _reason_for_loss(lost: EffectiveScope, after: StateSnapshot) -> str:
    """Why the client, or the users through it, lost the scope or role."""
    ref = Ref("OAuthClient", *lost.client.split("/"))
    client, server = after.clients.get(ref), after.servers.get(lost.server)
    declared = after.declared.get(ref)
    if client is None or declared is None:
        return "the OAuthClient is deleted"
    if client.disabled:
        return "the OAuthClient is disabled"
    if not (acts_for_users if lost.users else acts_for_itself)(client.grant_types):
        return f"the OAuthClient no longer acts for {'users' if lost.users else 'itself'}"
    if server is None or not server.audience:
        return "the ResourceServer is deleted or refused"
    roles = {role.name: role.scopes for role in server.roles}
    if lost.scope not in (roles if lost.is_role else server.scopes):
        return "the ResourceServer no longer declares it"
    needed = roles[lost.scope] if lost.is_role else (lost.scope,)
    requested = {s for a in client.access if a.resource_server == lost.server for s in a.scopes}
    if not requested.issuperset(needed):
        return f"the OAuthClient no longer asks for {'all of its scopes' if lost.is_role else 'it'}"
    return f"no ScopeGrant grants it now; ScopeGrant {', '.join(lost.via)} did"


# Requests


def _by_rule(change: RequestChange) -> tuple[object, ...]:
    """Anyone first."""
    return (bool(change.callers), change.server, change.rule, change.site, not change.gained, change.paths)


def _uncompared(requests: RequestChanges) -> Iterator[Finding]:
    message = (
        "spec.http has too many patterns and methods to compare with those before: all of its rules are listed as new; "
        "use fewer wildcards and methods to see what changes"
    )
    for server in sorted(requests.uncompared):
        yield Finding(Ref("ResourceServer", *server.split("/")), "RulesNotCompared", message, ("spec", "http", "rules"))


# Credentials


def _credentials(before: StateSnapshot, after: StateSnapshot, events: EventsByObject) -> Iterator[ObjectChange]:
    for ref in sorted(before.clients.keys() | after.clients.keys()):
        old, new = before.clients.get(ref), after.clients.get(ref)
        own_events = [event for event in events.get(ref, ()) if event.reason.startswith(_CREDENTIAL)]
        if old is None and new is not None:
            yield _first(ref, new, own_events)
        elif new is None:
            yield ObjectChange(ref, "deleted", "its credentials are refused from then on")
        elif old is not None:
            yield from _replaced(ref, old, new, own_events)
            yield from _switched(ref, old, new)


def _first(ref: Ref, new: ClientRecord, own_events: Sequence[Event]) -> ObjectChange:
    if any(event.reason == "CredentialAdopted" for event in own_events):
        return ObjectChange(ref, "adopted", own_events[-1].message)
    where = f"in Secret {ref.namespace}/{new.secret_name}"
    return ObjectChange(ref, "made", where if new.credentials else _without_credential(new))


def _without_credential(new: ClientRecord) -> str:
    return "none: it is a public client" if new.public else f"none is needed: it authenticates by {new.method}"


def _method(record: ClientRecord) -> str:
    return "None" if record.public else record.method


def _replaced(ref: Ref, old: ClientRecord, new: ClientRecord, own_events: Sequence[Event]) -> Iterator[ObjectChange]:
    known, left = {c.sha256 for c in old.credentials}, {c.sha256 for c in new.credentials}
    why = own_events[-1] if own_events else None
    if known <= left and left <= known:
        return
    dropped = [c for c in old.credentials if c.sha256 not in left and c.expiration_time is None]
    if dropped or (why and why.reason in _REVOKED):
        cost = "" if new.public else "; Pods that hold the old one are refused until they read the new one"
        yield ObjectChange(ref, "revoked", (why.message if why else "it is no longer accepted") + cost)
    elif why and why.reason == "CredentialMoved":
        yield ObjectChange(ref, "moved", why.message + _overlap(new.credentials))
    elif left - known:
        yield ObjectChange(ref, "rotated", (why.message if why else "a new one is made") + _overlap(new.credentials))


def _overlap(credentials: tuple[Credential, ...]) -> str:
    ends = max((c.expiration_time for c in credentials if c.expiration_time), default=None)
    return f"; the previous one works until {rfc3339(ends)}" if ends else ""


def _switched(ref: Ref, old: ClientRecord, new: ClientRecord) -> Iterator[ObjectChange]:
    if old.disabled != new.disabled:
        what = "the issuer refuses it from then on" if new.disabled else "the issuer accepts it again"
        yield ObjectChange(ref, "disabled" if new.disabled else "enabled", what)
    if _method(old) != _method(new):
        yield ObjectChange(ref, "changed", f"it authenticates by {_method(new)} instead of {_method(old)}")
    elif (old.public_keys, old.service_account) != (new.public_keys, new.service_account):
        yield ObjectChange(ref, "changed", "it authenticates with other keys or another ServiceAccount")
    if old.dpop_required != new.dpop_required:
        yield ObjectChange(ref, "changed", f"DPoP is {'required' if new.dpop_required else 'optional'}")


# Keys


def _keys(before: StateSnapshot, after: StateSnapshot, events: EventsByObject) -> Iterator[ObjectChange]:
    declared = before.declared.keys() | after.declared.keys()
    for ref in sorted(r for r in declared if (r.kind, r.namespace) == ("SigningKey", after.namespace)):
        old, new = _of(before, ref.name), _of(after, ref.name)
        if ref in before.declared and ref not in after.declared:
            yield _retired(ref, new)
            continue
        revoked = next((event for event in events.get(ref, ()) if event.reason in _REVOKED), None)
        if revoked:
            yield ObjectChange(ref, "revoked", revoked.message)
        made = [new[kid] for kid in sorted(new.keys() - old.keys())]
        yield from (_made(ref, record, after, first=not old) for record in made)


def _of(snapshot: StateSnapshot, signing_key: str) -> dict[str, KeyRecord]:
    return {kid: record for kid, record in snapshot.keys.items() if record.signing_key == signing_key}


def _made(ref: Ref, record: KeyRecord, after: StateSnapshot, *, first: bool) -> ObjectChange:
    start = record.signing_start_time
    when = "at once" if start and start <= after.now else f"from {rfc3339(start)} on" if start else "once published"
    if first:
        return ObjectChange(ref, "made", f"its first key ({record.algorithm}) signs {when}")
    cost = "; verifiers that cached the JWKS refuse its tokens until they fetch it again" if record.at_once else ""
    return ObjectChange(ref, "rotated", f"a new key ({record.algorithm}) signs {when}{cost}")


def _retired(ref: Ref, keys: Mapping[str, KeyRecord]) -> ObjectChange:
    ends = max((k.signing_end_time for k in keys.values() if k.signing_end_time), default=None)
    until = f"; its keys sign until {rfc3339(ends)} at the latest" if ends else ""
    return ObjectChange(ref, "retired", f"no key follows{until}")


# Secrets and declared objects


def _secrets(before: StateSnapshot, after: StateSnapshot) -> Iterator[ObjectChange]:
    for ref in sorted(before.secrets.keys() | after.secrets.keys()):
        old, new = before.secrets.get(ref), after.secrets.get(ref)
        if old is None:
            yield ObjectChange(ref, "made")
        elif new is None:
            yield ObjectChange(ref, "deleted")
        elif differing := sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name)):
            yield ObjectChange(ref, "changed", ", ".join(differing))


def _objects(before: StateSnapshot, after: StateSnapshot) -> Iterator[ObjectChange]:
    for name in sorted(before.namespaces.keys() & after.namespaces.keys()):
        if fields := _fields(before.namespaces[name], after.namespaces[name], "metadata.labels"):
            yield ObjectChange(Ref("Namespace", "", name), "changed", ", ".join(fields))
    for ref in sorted(before.declared.keys() | after.declared.keys()):
        old, new = before.declared.get(ref), after.declared.get(ref)
        if old is None and new is not None:
            yield ObjectChange(ref, "made", _consent(new))
        elif new is None:
            yield ObjectChange(ref, "deleted")
        elif old is not None and (fields := changed_fields(old, new)):
            consent = f"; it is now {_consent(new)}" if isinstance(new, ScopeGrant) else ""
            yield ObjectChange(ref, "changed", ", ".join(fields) + consent)


def _consent(obj: Kind) -> str:
    """What a ScopeGrant allows, also to clients that do not ask for it yet."""
    if not isinstance(obj, ScopeGrant):
        return ""
    spec = obj.spec
    until = f" until {rfc3339(spec.expiration_time)}" if spec.expiration_time else ""
    users = (f"{users_of([entry])} through {_selection(entry.through)}" for entry in spec.to_users)
    return f"{granted_names(spec)} of {spec.resource_server} to {', '.join((*map(_selection, spec.to), *users))}{until}"


def _selection(to: ClientSelection) -> str:
    if to.namespace:
        return f"{to.namespace}/{to.client}" if to.client else f"all of {to.namespace}"
    if to.namespace_selector is None:
        return "all namespaces"
    labels = [f"{key}={value}" for key, value in (to.namespace_selector.match_labels or {}).items()]
    labels += [" ".join((e.key, e.operator, *(e.values or ()))) for e in to.namespace_selector.match_expressions or ()]
    return f"the namespaces with {' and '.join(labels)}"


def changed_fields(old: Kind, new: Kind) -> list[str]:
    """Paths of the fields that differ, defaults included; only fields that users write."""
    return [
        *_fields(old.spec.to_dict(), new.spec.to_dict(), "spec"),
        *_fields(old.metadata.annotations, new.metadata.annotations, "metadata.annotations"),
        *_fields(old.metadata.labels, new.metadata.labels, "metadata.labels"),
    ]


def _fields(old: Any, new: Any, path: str) -> list[str]:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return [] if old == new else [path]
    fields: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        step = f"{path}.{name}" if name.isidentifier() else f"{path}[{name}]"
        fields += _fields(old.get(name), new.get(name), step)
    return fields
