"""The plan for one OAuthClient: its record, its Secret, its status."""

from dataclasses import dataclass, replace
from typing import Final

from scopewright.core.client.authentication import kind_of, managed_kind, service_account
from scopewright.core.client.credentials import Cause, SecretOwnership, add_credential, cause_for_new, cause_to_rotate
from scopewright.core.client.issuing import issue_credential
from scopewright.core.client.record import record_upkeep, record_with, record_write
from scopewright.core.client.restrictions import refuse_by_profile
from scopewright.core.client.secret import (
    adoptable_credential,
    claimed_secrets,
    former_secrets,
    holds_all,
    inspect_secret,
    refuse_conflict,
    secret_upkeep,
)
from scopewright.core.client.status import client_status, departing_status, readiness, readiness_while_paused
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, is_bound
from scopewright.core.failed_writes import (
    ALTERED,
    FailedWrite,
    WriteDeferred,
    allowed_writes,
    not_ready,
    refused,
    split_deferred,
)
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import Deletion, Write, is_paused
from scopewright.core.plan import NOTHING, ConditionUpdate, Event, Plan, stalled
from scopewright.core.records import ClientRecord, Credential

_ADOPTED: Final = Event("CredentialAdopted", "the sealed Secret was there before the record: its credential stays")
_RESTORED: Final = Event(
    "CredentialRestored", "the Secret was restored: what it holds is accepted again, and what followed it ends"
)


@dataclass(frozen=True, slots=True)
class _Step:
    """The next writes, and what is in the way: a credential that is due and cannot be written, another write that
    failed, something that the user has to change.
    """

    plan: Plan = NOTHING
    failing: IssueFailure | None = None
    blocked: FailedWrite | None = None
    wrong: Rejected | None = None


def plan_client(view: ClientView) -> Plan:
    meta = view.client.metadata
    if meta.deletion_timestamp:
        return _departing(view)
    found = inspect_secret(view)
    if is_paused(meta.annotations):
        return client_status(view, found, (*readiness_while_paused(view, found), PAUSED))
    if view.terminating:
        return _upkeep(view, found).plan
    try:
        step = _step(view, found)
    except WriteDeferred as held:
        step = replace(_upkeep(view, found), blocked=held.failed_write)
    except Rejected as why:
        step = replace(_upkeep(view, found), wrong=why)
    except Unavailable:
        step = _upkeep(view, found)
        if not step.plan.writes:
            raise
    if step.plan.writes:
        return step.plan
    return client_status(view, found, _said(view, found, step), step.failing)


def _departing(view: ClientView) -> Plan:
    """The record goes at once, and with it all access: whatever keeps the object, its deletion is final."""
    existing = view.record_object
    if existing is None or (view.record and view.record.uid != view.client.uid):
        return departing_status(view, deleting_conditions(view.client.metadata, "the issuer refuses this client"))
    if failed_write := view.failed_write_of(view.record_ref):
        return departing_status(view, not_ready(failed_write))
    return Plan((Deletion(existing),))


def _said(view: ClientView, found: ClientState, step: _Step) -> tuple[ConditionUpdate, ...]:
    altered = view.failed_write_of(view.secret_ref)
    if altered and altered.reason == ALTERED and step.wrong is None and _serves(view, found):
        return (*readiness(view), ConditionUpdate("SecretAltered", "True", ALTERED, altered.message))
    if step.blocked:
        return not_ready(step.blocked)
    if step.wrong:
        return stalled(step.wrong)
    failing = step.failing
    if failing is None or found.current is not None:
        return readiness(view)
    return refused(failing.reason, failing.message, needs_user=failing.needs_user)


def _serves(view: ClientView, found: ClientState) -> bool:
    """Whether Pods can work with the Secret as it is, although others have added to it."""
    return is_bound(view, found) and holds_all(view, found.current)


def _step(view: ClientView, found: ClientState) -> _Step:
    """The next writes: none when everything is as it should be."""
    refuse_by_profile(view.client, view.config)
    if view.beyond_limits and found.record is None:
        raise view.beyond_limits
    if claimed := allowed_writes(claimed_secrets(view, found), view.failed_writes):
        return _Step(Plan(claimed))
    refuse_conflict(view, found)
    return _provided(view, found) if managed_kind(view.client) else _brought(view, found)


def _upkeep(view: ClientView, found: ClientState, *more: Write) -> _Step:
    """What keeps the record in step, and `more`, but for what is on hold."""
    upkeep = record_upkeep(view, found)
    writes, blocked = split_deferred((*upkeep.writes, *more), view.failed_writes)
    told = upkeep.events if set(map(id, upkeep.writes)) <= set(map(id, writes)) else ()
    return _Step(Plan(writes, events=told), blocked=blocked)


def _provided(view: ClientView, found: ClientState) -> _Step:
    """With a credential that the operator makes: adopted, restored, issued, or as it is."""
    record, current = found.record, found.current
    if record is None and found.standing is SecretOwnership.SEALED and (adopted := adoptable_credential(view)):
        return _accept(view, found, (adopted,), _ADOPTED)
    if (
        record
        and current is None
        and found.standing is SecretOwnership.SEALED
        and (credentials := _restored(view, found))
    ):
        return _accept(view, found, credentials, _RESTORED)
    failing, cause = None, _cause(view, found)
    if cause:
        issued = issue_credential(view, found, cause, managed_kind(view.client))
        if isinstance(issued, Plan):
            return _Step(issued)
        failing = issued
    more: tuple[Write, ...] = ()
    if current and record:
        more = (*secret_upkeep(view, current), *former_secrets(view, record))
    return replace(_upkeep(view, found, *more), failing=failing)


def _accept(view: ClientView, found: ClientState, credentials: tuple[Credential, ...], told: Event) -> _Step:
    if failed_write := view.failed_write_of(view.record_ref):
        raise WriteDeferred(failed_write)
    return _Step(Plan((record_write(view, record_with(view, found, credentials)),), events=(told,)))


def _cause(view: ClientView, found: ClientState) -> Cause | None:
    cause = cause_for_new(view.client, found.record, found.current, found.standing, view.now)
    last, record = view.attempt, found.record
    if last is None or record is None or cause is None or not cause.heal:
        return cause
    # A credential whose Secret could not be written yet is still made for what it was made for: it heals nothing.
    sha256 = last.credential.sha256
    return last.cause if any(c.sha256 == sha256 and c.expiration_time is None for c in record.credentials) else cause


def _brought(view: ClientView, found: ClientState) -> _Step:
    """Where the client brings its own proof: the record says which, and the Secret holds no credential.

    One that an earlier method left there stays, and works, while there is nothing that could take its place; it rotates
    as ever, or it would get as old as somebody likes who names a ServiceAccount that is not there.
    """
    record, current = found.record, found.current
    try:
        missing = None
        service_account(view.client, view.service_account_uid, view.config)
    except Rejected as why:
        missing = why
    kept = current if missing else None
    cause = cause_to_rotate(view.client, kept, view.now) if kept else None
    failing = None
    if kept and cause:
        issued = issue_credential(view, found, cause, kind_of(kept))
        if isinstance(issued, Plan):
            return _Step(issued)
        failing = issued
    step = _upkeep(view, found, *_brings(view, found, record, kept))
    changed = (_withdrawn(view, current),) if current and not kept and step.blocked is None else ()
    plan = replace(step.plan, events=(*step.plan.events, *changed))
    return _Step(plan, failing, step.blocked, missing)


def _brings(
    view: ClientView, found: ClientState, record: ClientRecord | None, kept: Credential | None
) -> tuple[Write, ...]:
    first = () if view.record else (record_write(view, record_with(view, found, ())),)
    former = former_secrets(view, record) if record else ()
    return (*first, *secret_upkeep(view, kept), *former)


def _withdrawn(view: ClientView, current: Credential) -> Event:
    message = (
        f"the method changed: the {kind_of(current)} leaves Secret {view.client.secret_name}, and works until "
        "its overlap ends"
    )
    return Event("CredentialChanged", message)


def _restored(view: ClientView, found: ClientState) -> tuple[Credential, ...]:
    """The record's credentials with the one of a Secret that was restored as the current one; empty if it may not be.

    What was replaced because `scopewright.dev/rotate` asked for it does not come back: it may have leaked.
    """
    held, record = adoptable_credential(view), found.record
    if held is None or record is None:
        return ()
    latest = record.credentials[-1] if record.credentials else None
    known = next((c for c in record.credentials if c.sha256 == held.sha256), None)
    rotated_for = known.rotate if known else ""
    if latest and rotated_for != latest.rotate:
        return ()
    others = tuple(c for c in record.credentials if c.sha256 != held.sha256)
    return add_credential(others, replace(held, rotate=rotated_for), None, view.now)
