"""What an OAuthClient's status says: ready or what to do, who grants what, which manifest would grant the rest."""

import json
import re
from datetime import datetime, timedelta
from typing import Final

from scopewright.api import OAuthClient
from scopewright.api.oauthclient import AccessStatus, Binding, CredentialTimes, OAuthClientStatus
from scopewright.core.access import AccessDecision, requested_access, resolve
from scopewright.core.client.authentication import brings_own_credential, managed_kind
from scopewright.core.client.credentials import SecretOwnership, rotation_time
from scopewright.core.client.healing import next_heal_time
from scopewright.core.client.overlap import can_extend, next_decision, was_extended
from scopewright.core.client.restrictions import ignored_keys, too_many_scopes
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, is_bound
from scopewright.core.client.windows import refuse_unknown_zone
from scopewright.core.failures import Rejected
from scopewright.core.objects import is_paused
from scopewright.core.plan import (
    ConditionUpdate,
    Plan,
    append_history,
    as_json,
    merge_conditions,
    ready,
    rotation_events,
    rotation_failing,
    soonest,
    stalled,
    waiting,
)
from scopewright.core.records import ClientRecord, Credential, RequestedAccess

GRACE: Final = timedelta(seconds=3)
_PLAIN_SCALAR: Final = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z][a-z0-9_./-]*(?::[a-z0-9_./-]+)*", re.IGNORECASE
)
MAX_TEXT: Final = 8000


def readiness(view: ClientView) -> tuple[ConditionUpdate, ...]:
    client, revoked_before = view.client, view.client.spec.rotation.revoked_before
    if client.spec.disabled:
        return stalled(Rejected("Disabled", "spec.disabled is true: the issuer refuses this client"))
    if managed_kind(client) and not client.spec.rotation.suspend:
        try:
            refuse_unknown_zone(client.spec.rotation.windows)
        except Rejected as why:
            return stalled(why)
    if view.beyond_limits:
        return stalled(view.beyond_limits)
    if too_many := too_many_scopes(client):
        return stalled(too_many)
    message = _what_the_issuer_accepts(client)
    if revoked_before and view.now < revoked_before:
        message += f"; revokedBefore lies ahead and takes effect at {revoked_before:%FT%TZ}"
    return ready("Provisioned", message)


def readiness_while_paused(view: ClientView, found: ClientState) -> tuple[ConditionUpdate, ...]:
    """What the issuer and the Secret have, whatever the spec says by now."""
    client, record, name = view.client, found.record, view.client.secret_name
    if record is None:
        return waiting(
            "NotProvisioned", "the issuer does not know this client, because it was paused before it was seen"
        )
    if record.disabled:
        return stalled(Rejected("Disabled", "the issuer refuses this client: it was disabled before it was paused"))
    if found.standing is SecretOwnership.ABSENT:
        return waiting("SecretMissing", f"Secret {name} does not exist, and is not made while the client is paused")
    if not found.secret_is_ours:
        return waiting("SecretConflict", f"Secret {name} is not this client's")
    if found.current is None and not brings_own_credential(record):
        return waiting("SecretOutdated", f"Secret {name} holds no credential that the issuer goes on accepting")
    return ready("Provisioned", _what_the_issuer_accepts(client))


def departing_status(view: ClientView, said: tuple[ConditionUpdate, ...]) -> Plan:
    """The status of a client that is being deleted: it has no credential and no access any more."""
    client, previous = view.client, view.client.status
    generation, before = client.metadata.generation, previous.conditions if previous else ()
    conditions, changes = merge_conditions(said, before, generation, view.now)
    status = OAuthClientStatus(
        observed_generation=generation,
        client_id=client.client_id,
        history=append_history(previous.history if previous else (), (*view.events, *changes), view.now),
        conditions=conditions,
    )
    return Plan(status=as_json(status), events=changes)


def _what_the_issuer_accepts(client: OAuthClient) -> str:
    if managed_kind(client):
        return f"Secret {client.secret_name} holds a credential that the issuer accepts"
    named = client.spec.authentication.service_account
    if named:
        where = f"of cluster {named.cluster}" if named.cluster else "of this namespace"
        return (
            f"the issuer accepts tokens of ServiceAccount {named.name} {where}; Secret {client.secret_name} says where"
        )
    return f"the issuer accepts what the keys of jwks have signed; Secret {client.secret_name} says where"


def client_status(
    view: ClientView, found: ClientState, readiness: tuple[ConditionUpdate, ...], failing: IssueFailure | None = None
) -> Plan:
    client, previous = view.client, view.client.status
    paused = is_paused(client.metadata.annotations)
    asked = found.record.access if paused and found.record else requested_access(client)
    resolved = [(a, _resolve(view, a)) for a in asked]
    said = (
        *readiness, *_rotation_failing(failing), *_access_granted(view, resolved),
        *_previous_in_use(view, found.record), *_unused(view, found),
        *ignored_keys(client, view.config),
    )  # fmt: skip
    generation, before = client.metadata.generation, previous.conditions if previous else ()
    conditions, changes = merge_conditions(said, before, generation, view.now)
    changes = (*changes, *rotation_events(said, before))
    status = OAuthClientStatus(
        observed_generation=generation,
        client_id=client.client_id,
        binding=Binding(name=client.secret_name) if is_bound(view, found) else None,
        credentials=_credentials_status(view, found),
        access=[_access_status(view, a, access) for a, access in resolved],
        history=append_history(previous.history if previous else (), (*view.events, *changes), view.now),
        conditions=conditions,
    )
    retry_time = failing.retry_time if failing else None
    return Plan(status=as_json(status), events=changes, due=soonest(_due(view, found, resolved), retry_time))


def _rotation_failing(failing: IssueFailure | None) -> tuple[ConditionUpdate, ...]:
    if failing is None or not failing.is_rotation:
        return ()
    what = f"a new credential is due ({failing.cause.message}) and cannot be written: {failing.message}"
    return (rotation_failing(failing.reason, what[:MAX_TEXT]),)


def _resolve(view: ClientView, asked: RequestedAccess) -> AccessDecision:
    client = view.client
    server = view.servers.get(asked.resource_server)
    return resolve(asked, client.namespace, client.client_id, server, view.now)


def _credentials_status(view: ClientView, found: ClientState) -> CredentialTimes | None:
    record, current, last = found.record, found.current, _last_use(view)
    brings_own_credential = record is not None and managed_kind(view.client) is None and (record.credentials or last)
    if record is None or not (current or brings_own_credential):
        return None
    return CredentialTimes(
        issue_time=current.issue_time if current else None,
        next_rotation_time=_next_rotation(view, current) if current else None,
        previous_expiration_time=max(
            (c.expiration_time for c in record.credentials if c.expiration_time), default=None
        ),
        last_used_time=last and shown_use(last),
    )


def shown_use(last: datetime) -> datetime:
    """In whole hours: a client that is busy all day is not a status every minute."""
    return last.replace(minute=0, second=0, microsecond=0)


def _last_use(view: ClientView) -> datetime | None:
    return max(view.last_use.values(), default=None)


def _next_rotation(view: ClientView, current: Credential) -> datetime | None:
    """None where it does not give way by its age."""
    spec = view.client.spec
    return None if spec.disabled else rotation_time(spec.rotation, current, view.now)


def _previous_in_use(view: ClientView, record: ClientRecord | None) -> tuple[ConditionUpdate, ...]:
    rotation = view.client.spec.rotation
    longer = [c for c in (record.credentials if record else ()) if was_extended(c, rotation)]
    return tuple(
        ConditionUpdate("PreviousInUse", "True", "StillInUse", in_use(view, c), passing=True) for c in longer[-1:]
    )


def in_use(view: ClientView, credential: Credential) -> str:
    rotation = view.client.spec.rotation
    limit = (credential.replaced_time or view.now) + rotation.longest_overlap
    return (
        f"{view.client.client_id} still uses a credential that was replaced at {credential.replaced_time:%FT%TZ}: have "
        f"its Pods read Secret {view.client.secret_name} again; it works until {limit:%FT%TZ} at the latest"
    )


def _unused(view: ClientView, found: ClientState) -> tuple[ConditionUpdate, ...]:
    end = _unused_at(view, found)
    if end is None or view.now < end:
        return ()
    what = f"no token was asked for since {end - view.config.unused_after:%FT%TZ}: is the client still needed?"
    return (ConditionUpdate("Unused", "True", "NotUsed", what),)


def _unused_at(view: ClientView, found: ClientState) -> datetime | None:
    """When it counts as unused, if nothing is reported until then."""
    created = view.client.metadata.creation_timestamp if is_bound(view, found) else None
    usable = found.current.issue_time if found.current else created
    if usable is None or view.reporting_since is None:
        return None
    return max(_last_use(view) or usable, view.reporting_since) + view.config.unused_after


def _access_status(view: ClientView, asked: RequestedAccess, access: AccessDecision) -> AccessStatus:
    namespace, name = asked.resource_server.split("/")
    server = view.servers.get(asked.resource_server)
    return AccessStatus(
        resource_server=name,
        namespace=namespace,
        audience=server.audience if server and access.granted else None,
        granted=list(access.granted),
        missing=list(access.missing),
    )


def _access_granted(
    view: ClientView, resolved: list[tuple[RequestedAccess, AccessDecision]]
) -> tuple[ConditionUpdate, ...]:
    lacking = [_lack(view, asked, access) for asked, access in resolved if access.missing]
    if lacking and _grace_end(view):
        return (ConditionUpdate("AccessGranted", "Unknown", "Pending", " ".join(lacking)[:MAX_TEXT], passing=True),)
    if lacking:
        return (ConditionUpdate("AccessGranted", "False", "NotGranted", " ".join(lacking)[:MAX_TEXT]),)
    what = "every scope asked for is granted" if resolved else "spec.access asks for nothing"
    return (ConditionUpdate("AccessGranted", "True", "Granted", what),)


def _grace_end(view: ClientView) -> datetime | None:
    """Grants that were applied together with the client get a moment to arrive before anybody is warned."""
    created = view.client.metadata.creation_timestamp
    return created + GRACE if created and view.now < created + GRACE else None


def _lack(view: ClientView, asked: RequestedAccess, access: AccessDecision) -> str:
    """Which manifest would help. Across namespaces 'no such API', 'no such scope' and 'not granted' read the same."""
    client = view.client
    namespace, name = asked.resource_server.split("/")
    scopes = ", ".join(access.missing)
    if namespace == client.namespace:
        server = view.servers.get(asked.resource_server)
        if server is None:
            return f"No ResourceServer {name} is served in this namespace: apply one that declares {scopes}."
        return f"ResourceServer {name} does not declare {scopes}: add it to its spec.scopes."
    return (
        f"Namespace {namespace} grants no {scopes} of {name}; its owner can, with a ScopeGrant there: "
        f"{{resourceServer: {name}, scopes: [{', '.join(map(yaml_scalar, access.missing))}], "
        f"to: [{{namespace: {client.namespace}, client: {client.name}}}]}}."
    )


def yaml_scalar(name: str) -> str:
    """In quotes where YAML would read it otherwise inside of brackets, as with vault[/read]."""
    return name if _PLAIN_SCALAR.fullmatch(name) else json.dumps(name)


def _due(
    view: ClientView, found: ClientState, resolved: list[tuple[RequestedAccess, AccessDecision]]
) -> datetime | None:
    rotation, record, current = view.client.spec.rotation, found.record, found.current
    instants = (
        _next_rotation(view, current) if current else None,
        *(c.expiration_time for c in (record.credentials if record else ())),
        *_decisions(view, found),
        _unused_at(view, found),
        _grace_end(view) if any(access.missing for _, access in resolved) else None,
        *(end for _, access in resolved for end in access.granted.values()),
        next_heal_time(record, found.standing, view.now) if record and current is None else None,
        rotation.revoked_before,
    )
    return soonest(*(t for t in instants if t and view.now < t))


def _decisions(view: ClientView, found: ClientState) -> list[datetime | None]:
    rotation = view.client.spec.rotation
    credentials = found.record.credentials if found.record else ()
    latest = found.current or (credentials[-1] if credentials and managed_kind(view.client) is None else None)
    return [next_decision(c, rotation, view.now) for c in credentials if latest and can_extend(c, latest, rotation)]
