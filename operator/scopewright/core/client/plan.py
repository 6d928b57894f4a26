"""The plan for one OAuthClient: its record, its Secret, its status."""

from dataclasses import dataclass, replace
from typing import Final

from scopewright.core.client.authentication import is_public, kind_of, managed_kind, resolve_service_account
from scopewright.core.client.credentials import Cause, SecretOwnership, add_credential, cause_for_new, cause_to_rotate
from scopewright.core.client.issuing import issue_credential
from scopewright.core.client.record import record_upkeep, record_with, record_write
from scopewright.core.client.restrictions import refuse_by_profile
from scopewright.core.client.secret import (
    adoptable_credential,
    former_secrets,
    holds_all,
    inspect_secret,
    refuse_conflict,
    secret_upkeep,
    secrets_to_release,
    unneeded_secrets,
)
from scopewright.core.client.status import client_status, deletion_status, readiness, readiness_while_paused
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, is_bound
from scopewright.core.failed_writes import (
    ALTERED,
    FailedWrite,
    WriteDeferred,
    allowed_writes,
    not_ready,
    not_ready_because,
    split_deferred,
)
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import Deletion, Write, is_paused
from scopewright.core.plan import NOTHING, ConditionUpdate, Event, Plan, stalled
from scopewright.core.records.client import ClientRecord, Credential

_ADOPTED: Final = Event("CredentialAdopted", "the sealed Secret existed before the record: its credential stays valid")
_RESTORED: Final = Event(
    "CredentialRestored", "the Secret was restored: its credential is accepted again, and later ones end"
)


@dataclass(frozen=True, slots=True)
class _Decision:
    """The next writes, and what prevents others: a credential that is due and cannot be written, another failed write,
    or something that the user has to change.
    """

    plan: Plan = NOTHING
    failure: IssueFailure | None = None
    blocked: FailedWrite | None = None
    rejection: Rejected | None = None


def plan_client(view: ClientView) -> Plan:
    meta = view.client.metadata
    if meta.deletion_timestamp:
        return _deletion_plan(view)
    state = inspect_secret(view)
    if is_paused(meta.annotations):
        return client_status(view, state, (*readiness_while_paused(view, state), PAUSED))
    if view.terminating:
        return _upkeep(view, state).plan
    try:
        decision = _decide(view, state)
    except WriteDeferred as deferred:
        decision = replace(_upkeep(view, state), blocked=deferred.failed_write)
    except Rejected as why:
        decision = replace(_upkeep(view, state), rejection=why)
    except Unavailable:
        decision = _upkeep(view, state)
        if not decision.plan.writes:
            raise
    if decision.plan.writes:
        return decision.plan
    return client_status(view, state, _conditions(view, state, decision), decision.failure)


def _deletion_plan(view: ClientView) -> Plan:
    """Delete the record, and with it all access, at once: the deletion is final, even while finalizers block it."""
    existing = view.record_object
    if existing is None or (view.record and view.record.uid != view.client.uid):
        return deletion_status(view, deleting_conditions(view.client.metadata, "the issuer refuses this client"))
    if failed_write := view.failed_write_of(view.record_ref):
        return deletion_status(view, not_ready(failed_write))
    return Plan((Deletion(existing),))


def _conditions(view: ClientView, state: ClientState, decision: _Decision) -> tuple[ConditionUpdate, ...]:
    altered = view.failed_write_of(view.secret_ref)
    if altered and altered.reason == ALTERED and decision.rejection is None and _serves(view, state):
        return (*readiness(view), ConditionUpdate("SecretAltered", "True", ALTERED, altered.message))
    if decision.blocked:
        return not_ready(decision.blocked)
    if decision.rejection:
        return stalled(decision.rejection)
    failure = decision.failure
    if failure is None or state.current is not None:
        return readiness(view)
    return not_ready_because(failure.reason, failure.message, needs_user=failure.needs_user)


def _serves(view: ClientView, state: ClientState) -> bool:
    """Whether Pods can use the Secret as it is, although another program has changed it."""
    return is_bound(view, state) and holds_all(view, state.current)


def _decide(view: ClientView, state: ClientState) -> _Decision:
    """Return the next writes; none if everything is in place."""
    refuse_by_profile(view.client, view.config)
    if view.beyond_limits and state.record is None:
        raise view.beyond_limits
    if is_public(view.client):
        return _without_credential(view, state)
    if released := allowed_writes(secrets_to_release(view, state), view.failed_writes):
        return _Decision(Plan(released))
    refuse_conflict(view, state)
    return _with_managed_credential(view, state) if managed_kind(view.client) else _with_own_credential(view, state)


def _upkeep(view: ClientView, state: ClientState, *more: Write) -> _Decision:
    """Return the write that updates the record, and the writes `more`, without deferred ones."""
    upkeep = record_upkeep(view, state)
    writes, blocked = split_deferred((*upkeep.writes, *more), view.failed_writes)
    events = upkeep.events if set(map(id, upkeep.writes)) <= set(map(id, writes)) else ()
    return _Decision(Plan(writes, events=events), blocked=blocked)


def _with_managed_credential(view: ClientView, state: ClientState) -> _Decision:
    """Plan for a client whose credential the operator generates: adopt, restore, issue, or keep it."""
    record, current, sealed = state.record, state.current, state.ownership is SecretOwnership.SEALED
    if record is None and sealed and (adopted := adoptable_credential(view)):
        return _accept(view, state, (adopted,), _ADOPTED)
    if record and current is None and sealed and (credentials := _restored(view, state)):
        return _accept(view, state, credentials, _RESTORED)
    failure, cause = None, _cause(view, state)
    if cause:
        issued = issue_credential(view, state, cause, managed_kind(view.client))
        if isinstance(issued, Plan):
            return _Decision(issued)
        failure = issued
    more: tuple[Write, ...] = ()
    if current and record:
        more = (*secret_upkeep(view, current), *former_secrets(view, record))
    return replace(_upkeep(view, state, *more), failure=failure)


def _accept(view: ClientView, state: ClientState, credentials: tuple[Credential, ...], event: Event) -> _Decision:
    if failed_write := view.failed_write_of(view.record_ref):
        raise WriteDeferred(failed_write)
    return _Decision(Plan((record_write(view, record_with(view, state, credentials)),), events=(event,)))


def _cause(view: ClientView, state: ClientState) -> Cause | None:
    cause = cause_for_new(view.client, state.record, state.current, state.ownership, view.now)
    last, record = view.attempt, state.record
    if last is None or record is None or cause is None or not cause.heal:
        return cause
    # A credential whose Secret could not be written yet keeps its cause: it is not a heal.
    sha256 = last.credential.sha256
    return last.cause if any(c.sha256 == sha256 and c.expiration_time is None for c in record.credentials) else cause


def _with_own_credential(view: ClientView, state: ClientState) -> _Decision:
    """Plan for a client with keys or a ServiceAccount of its own: the Secret holds no credential.

    A credential of an earlier method stays, and is rotated as before, until the ServiceAccount exists. Otherwise a
    missing ServiceAccount would exempt it from rotation.
    """
    record, current = state.record, state.current
    try:
        missing = None
        resolve_service_account(view.client, view.service_account_uid, view.config)
    except Rejected as why:
        missing = why
    kept = current if missing else None
    cause = cause_to_rotate(view.client, kept, view.now) if kept else None
    failure = None
    if kept and cause:
        issued = issue_credential(view, state, cause, kind_of(kept))
        if isinstance(issued, Plan):
            return _Decision(issued)
        failure = issued
    decision = _upkeep(view, state, *_own_credential_writes(view, state, record, kept))
    changed = (_removed(view, current),) if current and not kept and decision.blocked is None else ()
    plan = replace(decision.plan, events=(*decision.plan.events, *changed))
    return _Decision(plan, failure, decision.blocked, missing)


def _without_credential(view: ClientView, state: ClientState) -> _Decision:
    """Plan for a public client: its record, and no Secret. The record first: earlier credentials end even if the Secret
    cannot be deleted.
    """
    first = () if view.record else (record_write(view, record_with(view, state, ())),)
    decision = _upkeep(view, state, *first, *unneeded_secrets(view))
    ended = state.record.credentials if state.record else ()
    if not ended or decision.blocked:
        return decision
    name = view.client.secret_name
    event = Event(
        "CredentialRemoved",
        f"the method changed to None: every credential is refused from now on, and Secret {name} is deleted",
    )
    return replace(decision, plan=replace(decision.plan, events=(*decision.plan.events, event)))


def _own_credential_writes(
    view: ClientView, state: ClientState, record: ClientRecord | None, kept: Credential | None
) -> tuple[Write, ...]:
    first = () if view.record else (record_write(view, record_with(view, state, ())),)
    former = former_secrets(view, record) if record else ()
    return (*first, *secret_upkeep(view, kept), *former)


def _removed(view: ClientView, current: Credential) -> Event:
    message = (
        f"the method changed: the {kind_of(current)} is removed from Secret {view.client.secret_name}, and works "
        "until its overlap ends"
    )
    return Event("CredentialChanged", message)


def _restored(view: ClientView, state: ClientState) -> tuple[Credential, ...]:
    """Return the record's credentials with that of a restored Secret as the current one; empty if that is not allowed.

    A credential that was replaced by `scopewright.dev/rotate` is not accepted again: it may have leaked.
    """
    restored, record = adoptable_credential(view), state.record
    if restored is None or record is None:
        return ()
    latest = record.credentials[-1] if record.credentials else None
    known = next((c for c in record.credentials if c.sha256 == restored.sha256), None)
    rotated_for = known.rotate if known else ""
    if latest and rotated_for != latest.rotate:
        return ()
    others = tuple(c for c in record.credentials if c.sha256 != restored.sha256)
    return add_credential(others, replace(restored, rotate=rotated_for), None, view.now)
