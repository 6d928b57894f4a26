"""The record of one client, which is written even if the Secret cannot be."""

from scopewright.core.access import requested_access
from scopewright.core.client.authentication import declared_keys, is_public, resolve_service_account
from scopewright.core.client.credentials import SecretOwnership, latest, revoked_before
from scopewright.core.client.healing import recent_heals
from scopewright.core.client.login import decide_login, limit_login
from scopewright.core.client.overlap import apply_overlap, was_extended
from scopewright.core.client.status import in_use
from scopewright.core.client.view import ClientState, ClientView
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, contains_desired
from scopewright.core.plan import NOTHING, Event, Plan
from scopewright.core.records.client import ClientRecord, Credential, Login, RequestedAccess, ServiceAccount
from scopewright.core.records.codec import encode
from scopewright.core.records.names import CLIENT_TYPE, ENTRY


def record_with(view: ClientView, state: ClientState, credentials: tuple[Credential, ...]) -> ClientRecord:
    spec, record = view.client.spec, state.record
    return ClientRecord(
        namespace=view.client.namespace,
        name=view.client.name,
        uid=view.client.uid,
        method="ClientSecret" if spec.authentication.method == "None" else spec.authentication.method,
        grant_types=tuple(spec.grant_types),
        owner_creation_time=view.client.metadata.creation_timestamp,
        disabled=spec.disabled,
        credentials=credentials,
        public_keys=declared_keys(view.client),
        service_account=_service_account(view),
        access=_access(view, record),
        login=_login(view, record),
        public=is_public(view.client),
        dpop_required=spec.dpop == "Required",
        secret_name=view.client.secret_name,
        revoked_before=latest(revoked_before(view.client, view.now), record.revoked_before if record else None),
        heals=recent_heals(record, state.current, view.now) if record else (),
    )


def _access(view: ClientView, record: ClientRecord | None) -> tuple[RequestedAccess, ...]:
    """Return the requested access. If the namespace exceeds its limits, only the part that the record has already."""
    requested = requested_access(view.client)
    if view.beyond_limits is None:
        return requested
    before = {a.resource_server: frozenset(a.scopes) for a in (record.access if record else ())}
    kept = ((a, tuple(s for s in a.scopes if s in before.get(a.resource_server, ()))) for a in requested)
    return tuple(RequestedAccess(a.resource_server, scopes) for a, scopes in kept if scopes)


def _login(view: ClientView, record: ClientRecord | None) -> Login | None:
    login = decide_login(view.client, view.config).login
    return login if view.beyond_limits is None else limit_login(login, record.login if record else None)


def _service_account(view: ClientView) -> ServiceAccount | None:
    try:
        return resolve_service_account(view.client, view.service_account_uid, view.config)
    except Rejected:
        return None


def record_write(view: ClientView, record: ClientRecord) -> Desired:
    return Desired(
        ref=view.record_ref,
        type=CLIENT_TYPE,
        entries={ENTRY: encode(record)},
        labels={MANAGED_BY: MANAGER},
        replaces=view.record_object,
    )


def record_upkeep(view: ClientView, state: ClientState) -> Plan:
    """Update the record: revocation, `disabled`, requested access, overlaps. Errors of the Secret do not prevent it.

    The record of a predecessor is emptied: its digests must not authenticate the new client of that name.
    """
    if view.record is None:
        return NOTHING
    live = live_credentials(view, state)
    write = record_write(view, record_with(view, state, live))
    if contains_desired(view.record_object, write):
        return NOTHING
    return Plan((write,), events=_extension_events(view, state, live))


def live_credentials(view: ClientView, state: ClientState) -> tuple[Credential, ...]:
    """Return the record's credentials that are still valid, by time and policy. A public client has none: a change to
    method None ends earlier ones without an overlap.
    """
    if is_public(view.client):
        return ()
    credentials = state.record.credentials if state.record else ()
    before = revoked_before(view.client, view.now)
    # Once the client has its own credential and the Secret holds none, all credentials are replaced.
    without_credential = state.ownership in (SecretOwnership.SEALED, SecretOwnership.ABSENT)
    has_own_credential = bool(declared_keys(view.client)) or _service_account(view) is not None
    unneeded = has_own_credential and without_credential
    return apply_overlap(
        credentials, state.current, before, view.client.spec.rotation, view.last_use, view.now, unneeded=unneeded
    )


def _extension_events(view: ClientView, state: ClientState, live: tuple[Credential, ...]) -> tuple[Event, ...]:
    """Return an event for the first extension of an overlap, not for the next ones."""
    rotation = view.client.spec.rotation
    before = {c.sha256 for c in (state.record.credentials if state.record else ()) if was_extended(c, rotation)}
    return tuple(
        Event("PreviousCredentialInUse", in_use(view, c), warning=True)
        for c in live
        if was_extended(c, rotation) and c.sha256 not in before
    )
