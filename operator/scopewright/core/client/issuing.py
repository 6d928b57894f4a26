"""The next credential of a client: generated, retried after a failed write, or why it cannot be written now."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from scopewright.core.client.authentication import CredentialKind, kind_of
from scopewright.core.client.credentials import (
    Cause,
    SecretOwnership,
    add_credential,
    next_free_time,
    revoked_before,
    rotate_request,
)
from scopewright.core.client.healing import check_healing_limit
from scopewright.core.client.record import live_credentials, record_with, record_write
from scopewright.core.client.secret import annotated_issue_time, secret_write
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, NewCredential
from scopewright.core.failures import Unavailable
from scopewright.core.objects import contains_desired, digest
from scopewright.core.plan import Event, Plan
from scopewright.core.records.client import Credential

MAX_WAIT: Final = timedelta(minutes=10)
"""A credential that waited longer than this for its Secret, while every write was refused, gets a new issue time.
Otherwise it would soon be rotated again."""


def issue_credential(
    view: ClientView, state: ClientState, cause: Cause, kind: CredentialKind | None
) -> Plan | IssueFailure:
    """Return the writes that bring a new credential into use, or why they have to wait. A retry uses the credential of
    the last attempt, so that the record needs no other digest. Raise `Rejected` if the limit of heals is reached.
    """
    if not _replaces_revoked(view, state):
        check_healing_limit(state.record, cause, state.ownership, view.now)
    if failed_write := view.failed_write_of(view.record_ref, view.secret_ref):
        return IssueFailure(
            cause, failed_write.reason, failed_write.message, failed_write.retry_time, failed_write.needs_user
        )
    live = live_credentials(view, state)
    retry = _last_attempt(view, live, cause, kind)
    if retry:
        credentials = tuple(retry.credential if c.sha256 == retry.credential.sha256 else c for c in live)
        return _plan(view, state, credentials, retry)
    new = _generate(view, kind, cause)
    try:
        credentials = add_credential(
            _without_refused(view, state, live), new.credential, state.current, view.now, view.last_unanswered
        )
    except Unavailable as full:
        when = next_free_time(live, state.current, view.now)
        message = f"{full.message}; to end all of them at once, set spec.rotation.revokedBefore"
        return IssueFailure(cause, "CredentialsInUse", message, when, needs_user=False)
    return _plan(view, state, credentials, new)


def _replaces_revoked(view: ClientView, state: ClientState) -> bool:
    """Whether the sealed Secret still holds a credential that `revokedBefore` ended, without a heal since: the process
    that generated its successor was lost. The next one is a heal too, and only that one is exempt from the limit.
    """
    record = state.record
    sealed = view.secret if state.ownership is SecretOwnership.SEALED else None
    if record is None or record.revoked_before is None or sealed is None:
        return False
    issued = annotated_issue_time(sealed)
    return issued is not None and issued < record.revoked_before and not any(c.heal for c in record.credentials[-1:])


def _plan(view: ClientView, state: ClientState, credentials: tuple[Credential, ...], new: NewCredential) -> Plan:
    record = record_write(view, record_with(view, state, credentials))
    first = () if contains_desired(view.record_object, record) else (record,)
    event = Event(new.cause.reason, new.cause.message, warning=new.cause.heal)
    writes = (*first, secret_write(view, new.credential, new.value))
    return Plan(writes, events=(event,), attempt=new)


def _last_attempt(
    view: ClientView, live: tuple[Credential, ...], cause: Cause, kind: CredentialKind | None
) -> NewCredential | None:
    """Return the credential of the last attempt if it reached no Secret, the record accepts it and it fits `cause`. It
    gets a new issue time only if it certainly reached no Secret: a credential that may have leaked must keep its age.
    """
    last = view.attempt
    if last and view.secret and last.credential.sha256 in view.secret.entries.values():
        return None
    recorded = next((c for c in live if last and c.sha256 == last.credential.sha256), None)
    if last is None or recorded is None or recorded.expiration_time is not None or kind_of(recorded) != kind:
        return None
    if recorded.rotate != rotate_request(view.client) or recorded.heal != (cause.heal and last.cause.heal):
        return None
    before, waited = revoked_before(view.client, view.now), view.now - recorded.issue_time
    if before and recorded.issue_time < before:
        return None
    late = view.attempt_refused and waited > min(MAX_WAIT, view.client.spec.rotation.every / 4)
    return replace(last, cause=cause, credential=replace(recorded, issue_time=view.now) if late else recorded)


def _without_refused(view: ClientView, state: ClientState, live: tuple[Credential, ...]) -> tuple[Credential, ...]:
    """Drop the digest of the last attempt if it certainly reached no Secret and never will."""
    last = view.attempt
    if last is None or not view.attempt_refused:
        return live
    return tuple(c for c in live if c.sha256 != last.credential.sha256 or c == state.current or c.expiration_time)


def _generate(view: ClientView, kind: CredentialKind | None, cause: Cause) -> NewCredential:
    if kind == "key pair":
        pair = view.generate_key_pair()
        value, credential = pair.private, Credential(digest(pair.private), view.now, jwk=pair.jwk)
    else:
        value = view.generate_secret().encode()
        credential = Credential(digest(value), view.now)
    credential = replace(credential, rotate=rotate_request(view.client), heal=cause.heal)
    return NewCredential(credential, value, cause)
