"""Status of an OAuthClient: conditions with what to do, granted access, and the manifest for missing access."""

import json
import re
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from scopewright.api import OAuthClient
from scopewright.api.oauthclient import AccessStatus, Binding, CredentialTimes, OAuthClientStatus
from scopewright.core.access import (
    AccessDecision,
    acts_for_itself,
    acts_for_users,
    requested_access,
    resolve_for_status,
)
from scopewright.core.client.authentication import brings_own_credential, is_public, managed_kind
from scopewright.core.client.credentials import SecretOwnership, rotation_time
from scopewright.core.client.healing import next_heal_time
from scopewright.core.client.login import MAX_TEXT, login_allowed
from scopewright.core.client.overlap import can_extend, next_decision, was_extended
from scopewright.core.client.restrictions import ignored_keys, too_many_scopes
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, is_bound
from scopewright.core.client.windows import refuse_unknown_zone
from scopewright.core.failures import Rejected
from scopewright.core.objects import is_paused
from scopewright.core.plan import ConditionUpdate, Plan, ready, rotation_failing, soonest, stalled, status_plan, waiting
from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess

GRACE: Final = timedelta(seconds=3)
_PLAIN_SCALAR: Final = re.compile(
    r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[a-z][a-z0-9_./-]*(?::[a-z0-9_./-]+)*", re.IGNORECASE
)


NO_CREDENTIAL: Final = (
    "the issuer knows this public client, which has no credential and no Secret: it needs its client id and PKCE"
)


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
    message = _accepted_proof(client)
    if revoked_before and view.now < revoked_before:
        message += f"; revokedBefore is in the future and takes effect at {revoked_before:%FT%TZ}"
    return ready("Provisioned", message)


def readiness_while_paused(view: ClientView, state: ClientState) -> tuple[ConditionUpdate, ...]:
    """Report the state of issuer and Secret; the spec may have changed since."""
    client, record, name = view.client, state.record, view.client.secret_name
    if record is None:
        return waiting(
            "NotProvisioned", "the issuer does not know this client: it was paused before the operator saw it"
        )
    if record.disabled:
        return stalled(Rejected("Disabled", "the issuer refuses this client: it was disabled before it was paused"))
    if record.public:
        return ready("Provisioned", NO_CREDENTIAL)
    if state.ownership is SecretOwnership.ABSENT:
        return waiting("SecretMissing", f"Secret {name} does not exist, and is not created while the client is paused")
    if not state.secret_is_managed:
        return waiting("SecretConflict", f"Secret {name} is not managed for this client")
    if state.current is None and not brings_own_credential(record):
        return waiting("SecretOutdated", f"Secret {name} holds no credential that the issuer will keep accepting")
    return ready("Provisioned", _accepted_proof(client))


def deletion_status(view: ClientView, conditions: tuple[ConditionUpdate, ...]) -> Plan:
    """Return the status of a client that is being deleted, without credentials and access."""
    client_id = view.client.client_id
    return status_plan(OAuthClientStatus, view.client, conditions, view.events, view.now, client_id=client_id)


def _accepted_proof(client: OAuthClient) -> str:
    if is_public(client):
        return NO_CREDENTIAL
    if managed_kind(client):
        return f"Secret {client.secret_name} holds a credential that the issuer accepts"
    named = client.spec.authentication.service_account
    if named:
        where = f"of cluster {named.cluster}" if named.cluster else "of this namespace"
        return (
            f"the issuer accepts tokens of ServiceAccount {named.name} {where}; Secret {client.secret_name} has its URL"
        )
    return f"the issuer accepts assertions signed by the keys of jwks; Secret {client.secret_name} has its URL"


def client_status(
    view: ClientView, state: ClientState, readiness: tuple[ConditionUpdate, ...], failure: IssueFailure | None = None
) -> Plan:
    client, paused = view.client, is_paused(view.client.metadata.annotations)
    requested = state.record.access if paused and state.record else requested_access(client)
    grant_types = state.record.grant_types if paused and state.record else client.spec.grant_types
    resolved = [(a, _resolve(view, a, grant_types)) for a in requested]
    conditions = (
        *readiness, *_rotation_failing(failure), *_access_granted(view, resolved),
        *_previous_in_use(view, state.record), *_unused(view, state),
        *ignored_keys(client, view.config), *login_allowed(view, state.record),
    )  # fmt: skip
    return status_plan(
        OAuthClientStatus,
        client,
        conditions,
        view.events,
        view.now,
        rotation=True,
        due=soonest(_due(view, state, resolved), failure.retry_time if failure else None),
        client_id=client.client_id,
        binding=Binding(name=client.secret_name) if is_bound(view, state) else None,
        credentials=_credentials_status(view, state),
        access=[_access_status(view, a, access) for a, access in resolved],
    )


def _rotation_failing(failure: IssueFailure | None) -> tuple[ConditionUpdate, ...]:
    if failure is None or not failure.is_rotation:
        return ()
    what = f"a new credential is due ({failure.cause.message}) and cannot be written: {failure.message}"
    return (rotation_failing(failure.reason, what[:MAX_TEXT]),)


def _resolve(view: ClientView, requested: RequestedAccess, grant_types: Collection[str]) -> AccessDecision:
    client = view.client
    server = view.servers.get(requested.resource_server)
    return resolve_for_status(requested, client.namespace, client.client_id, grant_types, server, view.now)


def _credentials_status(view: ClientView, state: ClientState) -> CredentialTimes | None:
    record, current, last = state.record, state.current, _last_use(view)
    brings_own_credential = record is not None and managed_kind(view.client) is None and (record.credentials or last)
    if record is None or not (current or brings_own_credential):
        return None
    return CredentialTimes(
        issue_time=current.issue_time if current else None,
        next_rotation_time=_next_rotation(view, current) if current else None,
        previous_expiration_time=max(
            (c.expiration_time for c in record.credentials if c.expiration_time), default=None
        ),
        last_used_time=last and rounded_use(last),
    )


def rounded_use(last: datetime) -> datetime:
    """Round down to the hour, so that a busy client does not cause a status every minute."""
    return last.replace(minute=0, second=0, microsecond=0)


def _last_use(view: ClientView) -> datetime | None:
    return max(view.last_use.values(), default=None)


def _next_rotation(view: ClientView, current: Credential) -> datetime | None:
    """Return the next rotation by age, or None."""
    spec = view.client.spec
    return None if spec.disabled else rotation_time(spec.rotation, current, view.now)


def _previous_in_use(view: ClientView, record: ClientRecord | None) -> tuple[ConditionUpdate, ...]:
    rotation = view.client.spec.rotation
    extended = [c for c in (record.credentials if record else ()) if was_extended(c, rotation)]
    return tuple(
        ConditionUpdate("PreviousInUse", "True", "StillInUse", in_use(view, c), transient=True) for c in extended[-1:]
    )


def in_use(view: ClientView, credential: Credential) -> str:
    rotation = view.client.spec.rotation
    limit = (credential.replaced_time or view.now) + rotation.longest_overlap
    return (
        f"{view.client.client_id} still uses a credential that was replaced at {credential.replaced_time:%FT%TZ}: have "
        f"its Pods read Secret {view.client.secret_name} again; it works until {limit:%FT%TZ} at the latest"
    )


def _unused(view: ClientView, state: ClientState) -> tuple[ConditionUpdate, ...]:
    end = _unused_at(view, state)
    if end is None or view.now < end:
        return ()
    what = (
        f"no token was requested since {end - view.config.unused_after:%FT%TZ}: delete the client if nothing needs it"
    )
    return (ConditionUpdate("Unused", "True", "NotUsed", what),)


def _unused_at(view: ClientView, state: ClientState) -> datetime | None:
    """Return the time from which on the client is reported as unused, unless a use is reported before."""
    served = is_bound(view, state) or (is_public(view.client) and state.record is not None)
    created = view.client.metadata.creation_timestamp if served else None
    usable = state.current.issue_time if state.current else created
    if usable is None or view.reporting_since is None:
        return None
    return max(_last_use(view) or usable, view.reporting_since) + view.config.unused_after


def _access_status(view: ClientView, requested: RequestedAccess, access: AccessDecision) -> AccessStatus:
    namespace, name = requested.resource_server.split("/")
    server = view.servers.get(requested.resource_server)
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
    missing = [_missing_access(view, requested, access) for requested, access in resolved if access.missing]
    if missing and _grace_end(view):
        return (ConditionUpdate("AccessGranted", "Unknown", "Pending", " ".join(missing)[:MAX_TEXT], transient=True),)
    if missing:
        return (ConditionUpdate("AccessGranted", "False", "NotGranted", " ".join(missing)[:MAX_TEXT]),)
    what = "every requested scope is granted" if resolved else "spec.access requests nothing"
    return (ConditionUpdate("AccessGranted", "True", "Granted", what),)


def _grace_end(view: ClientView) -> datetime | None:
    """Return the end of the time for which missing grants of a new client cause no warning; None after it."""
    created = view.client.metadata.creation_timestamp
    return created + GRACE if created and view.now < created + GRACE else None


def _missing_access(view: ClientView, requested: RequestedAccess, access: AccessDecision) -> str:
    """Say which manifest would help. For another namespace, a missing API, scope and grant have the same message."""
    client = view.client
    namespace, name = requested.resource_server.split("/")
    scopes = ", ".join(access.missing)
    if namespace == client.namespace:
        server = view.servers.get(requested.resource_server)
        if server is None:
            return f"No ResourceServer {name} is served in this namespace: apply one that declares {scopes}."
        if undeclared := [scope for scope in access.missing if scope not in server.scopes]:
            return f"ResourceServer {name} does not declare {', '.join(undeclared)}: add it to its spec.scopes."
        grant = _grant(view, name, access)
        return f"No ScopeGrant grants {scopes} of {name} to users: apply one in this namespace: {grant}."
    return (
        f"Namespace {namespace} does not grant {scopes} of {name}; "
        f"if these names are right, its owner can, with a ScopeGrant there: {_grant(view, name, access)}."
    )


def _grant(view: ClientView, resource_server: str, access: AccessDecision) -> str:
    """The spec of a ScopeGrant of what is missing: to the client, unless it acts for users alone."""
    client, grant_types = view.client, view.client.spec.grant_types
    named = f"{{namespace: {client.namespace}, client: {client.name}}}"
    for_users = acts_for_users(grant_types) and not acts_for_itself(grant_types)
    to = f"toUsers: [{{groups: [<group>], through: {named}}}]" if for_users else f"to: [{named}]"
    scopes = ", ".join(map(yaml_scalar, access.missing))
    return f"{{resourceServer: {resource_server}, scopes: [{scopes}], {to}}}"


def yaml_scalar(name: str) -> str:
    """Quote a name that YAML would not read as a plain string inside brackets, such as vault[/read]."""
    return name if _PLAIN_SCALAR.fullmatch(name) else json.dumps(name)


def _due(
    view: ClientView, state: ClientState, resolved: list[tuple[RequestedAccess, AccessDecision]]
) -> datetime | None:
    rotation, record, current = view.client.spec.rotation, state.record, state.current
    instants = (
        _next_rotation(view, current) if current else None,
        *(c.expiration_time for c in (record.credentials if record else ())),
        *_decisions(view, state),
        _unused_at(view, state),
        _grace_end(view) if any(access.missing for _, access in resolved) else None,
        *(end for _, access in resolved for end in access.granted.values()),
        next_heal_time(record, state.ownership, view.now) if record and current is None else None,
        rotation.revoked_before,
    )
    return soonest(*(t for t in instants if t and view.now < t))


def _decisions(view: ClientView, state: ClientState) -> list[datetime | None]:
    rotation = view.client.spec.rotation
    credentials = state.record.credentials if state.record else ()
    latest = state.current or (credentials[-1] if credentials and managed_kind(view.client) is None else None)
    return [next_decision(c, rotation, view.now) for c in credentials if latest and can_extend(c, latest, rotation)]
