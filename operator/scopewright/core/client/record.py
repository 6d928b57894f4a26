"""The record of one client: what the issuer is to know of it, whatever becomes of its Secret."""

from scopewright.core.access import requested_access
from scopewright.core.client.authentication import declared_keys, service_account
from scopewright.core.client.credentials import SecretOwnership, latest, revoked_before
from scopewright.core.client.healing import heals
from scopewright.core.client.overlap import apply_overlap, was_extended
from scopewright.core.client.status import in_use
from scopewright.core.client.view import ClientState, ClientView
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, holds
from scopewright.core.plan import NOTHING, Event, Plan
from scopewright.core.records import (
    CLIENT_TYPE,
    ENTRY,
    ClientRecord,
    Credential,
    RequestedAccess,
    ServiceAccount,
    encode,
)


def record_with(view: ClientView, found: ClientState, credentials: tuple[Credential, ...]) -> ClientRecord:
    spec, record = view.client.spec, found.record
    return ClientRecord(
        namespace=view.client.namespace,
        name=view.client.name,
        uid=view.client.uid,
        method=spec.authentication.method,
        grant_types=tuple(spec.grant_types),
        owner_creation_time=view.client.metadata.creation_timestamp,
        disabled=spec.disabled,
        credentials=credentials,
        public_keys=declared_keys(view.client),
        service_account=_service_account(view),
        access=_access(view, record),
        secret_name=view.client.secret_name,
        revoked_before=latest(revoked_before(view.client, view.now), record.revoked_before if record else None),
        heals=heals(record, found.current, view.now) if record else (),
    )


def _access(view: ClientView, record: ClientRecord | None) -> tuple[RequestedAccess, ...]:
    """What the client asks for; beyond its namespace's limits, as far as its record has it already."""
    asked = requested_access(view.client)
    if view.beyond_limits is None:
        return asked
    before = {a.resource_server: frozenset(a.scopes) for a in (record.access if record else ())}
    kept = ((a, tuple(s for s in a.scopes if s in before.get(a.resource_server, ()))) for a in asked)
    return tuple(RequestedAccess(a.resource_server, scopes) for a, scopes in kept if scopes)


def _service_account(view: ClientView) -> ServiceAccount | None:
    try:
        return service_account(view.client, view.service_account_uid, view.config)
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


def record_upkeep(view: ClientView, found: ClientState) -> Plan:
    """What no trouble with the Secret may stop: what is revoked, disabled, asked no more, overlapped for long enough.

    A predecessor's record is emptied: its hashes must not work for whoever has its name now.
    """
    if view.record is None:
        return NOTHING
    live = live_credentials(view, found)
    write = record_write(view, record_with(view, found, live))
    return NOTHING if holds(view.record_object, write) else Plan((write,), events=_lengthened(view, found, live))


def live_credentials(view: ClientView, found: ClientState) -> tuple[Credential, ...]:
    """The record's credentials as time and policy leave them."""
    credentials = found.record.credentials if found.record else ()
    before = revoked_before(view.client, view.now)
    # Once the client brings its own proof and the Secret holds no credential, all that there were are replaced.
    bare = found.standing in (SecretOwnership.SEALED, SecretOwnership.ABSENT)
    brings = bool(declared_keys(view.client)) or _service_account(view) is not None
    unneeded = brings and bare
    return apply_overlap(
        credentials, found.current, before, view.client.spec.rotation, view.last_use, view.now, unneeded=unneeded
    )


def _lengthened(view: ClientView, found: ClientState, live: tuple[Credential, ...]) -> tuple[Event, ...]:
    """Told when it begins, and not at each step."""
    rotation = view.client.spec.rotation
    before = {c.sha256 for c in (found.record.credentials if found.record else ()) if was_extended(c, rotation)}
    return tuple(
        Event("PreviousCredentialInUse", in_use(view, c), warning=True)
        for c in live
        if was_extended(c, rotation) and c.sha256 not in before
    )
