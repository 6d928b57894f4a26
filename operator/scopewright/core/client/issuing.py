"""The next credential of a client: made, or tried again after its writes failed, or why it cannot be written now."""

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
    rotate_value,
)
from scopewright.core.client.healing import check_healing_limit
from scopewright.core.client.record import live_credentials, record_with, record_write
from scopewright.core.client.secret import secret_write, stated_issue_time
from scopewright.core.client.view import ClientState, ClientView, IssueFailure, NewCredential
from scopewright.core.failures import Unavailable
from scopewright.core.objects import digest, holds
from scopewright.core.plan import Event, Plan
from scopewright.core.records import Credential

LONGEST_WAIT: Final = timedelta(minutes=10)
"""A credential that has waited longer than this for its Secret, while every write was refused, is dated anew, or it
would soon rotate again."""


def issue_credential(
    view: ClientView, found: ClientState, cause: Cause, kind: CredentialKind | None
) -> Plan | IssueFailure:
    """The writes that bring another credential into use. A retry hands out what the last attempt was to hand out: it
    needs no other hash in the record. `Rejected` where healing is limited.
    """
    if not _replaces_revoked(view, found):
        check_healing_limit(found.record, cause, found.standing, view.now)
    if failed_write := view.failed_write_of(view.record_ref, view.secret_ref):
        return IssueFailure(
            cause, failed_write.reason, failed_write.message, failed_write.retry_time, failed_write.needs_user
        )
    live = live_credentials(view, found)
    again = _last_attempt(view, live, cause, kind)
    if again:
        credentials = tuple(again.credential if c.sha256 == again.credential.sha256 else c for c in live)
        return _plan(view, found, credentials, again)
    new = _fresh(view, kind, cause)
    try:
        credentials = add_credential(
            _without_refused(view, found, live), new.credential, found.current, view.now, view.quiet_since
        )
    except Unavailable as full:
        when = next_free_time(live, found.current, view.now)
        message = f"{full.message}; to end all of them at once, set spec.rotation.revokedBefore"
        return IssueFailure(cause, "CredentialsInUse", message, when, needs_user=False)
    return _plan(view, found, credentials, new)


def _replaces_revoked(view: ClientView, found: ClientState) -> bool:
    """Whether the Secret still holds, as it was sealed, what `revokedBefore` has ended, and no heal has followed: its
    successor was lost with the process that made it. The next one counts as a heal, and only that one is not limited.
    """
    record = found.record
    if (
        record is None
        or record.revoked_before is None
        or found.standing is not SecretOwnership.SEALED
        or view.secret is None
    ):
        return False
    issued = stated_issue_time(view.secret)
    return issued is not None and issued < record.revoked_before and not any(c.heal for c in record.credentials[-1:])


def _plan(view: ClientView, found: ClientState, credentials: tuple[Credential, ...], new: NewCredential) -> Plan:
    record = record_write(view, record_with(view, found, credentials))
    first = () if holds(view.record_object, record) else (record,)
    told = Event(new.cause.reason, new.cause.message, warning=new.cause.heal)
    writes = (*first, secret_write(view, new.credential, new.value))
    return Plan(writes, events=(told,), attempt=new)


def _last_attempt(
    view: ClientView, live: tuple[Credential, ...], cause: Cause, kind: CredentialKind | None
) -> NewCredential | None:
    """What was to be handed out last, if it reached no Secret, the record accepts it and it is still what `cause` asks
    for. It is dated anew only where it certainly reached no Secret: what may have leaked must keep its age.
    """
    last = view.attempt
    if last and view.secret and last.credential.sha256 in view.secret.entries.values():
        return None
    recorded = next((c for c in live if last and c.sha256 == last.credential.sha256), None)
    if last is None or recorded is None or recorded.expiration_time is not None or kind_of(recorded) != kind:
        return None
    if recorded.rotate != rotate_value(view.client) or recorded.heal != (cause.heal and last.cause.heal):
        return None
    before, waited = revoked_before(view.client, view.now), view.now - recorded.issue_time
    if before and recorded.issue_time < before:
        return None
    late = view.attempt_refused and waited > min(LONGEST_WAIT, view.client.spec.rotation.every / 4)
    return replace(last, cause=cause, credential=replace(recorded, issue_time=view.now) if late else recorded)


def _without_refused(view: ClientView, found: ClientState, live: tuple[Credential, ...]) -> tuple[Credential, ...]:
    """Without the hash of the last attempt, where it certainly reached no Secret and never will."""
    last = view.attempt
    if last is None or not view.attempt_refused:
        return live
    return tuple(c for c in live if c.sha256 != last.credential.sha256 or c == found.current or c.expiration_time)


def _fresh(view: ClientView, kind: CredentialKind | None, cause: Cause) -> NewCredential:
    if kind == "key pair":
        pair = view.make_pair()
        value, credential = pair.private, Credential(digest(pair.private), view.now, jwk=pair.jwk)
    else:
        value = view.mint().encode()
        credential = Credential(digest(value), view.now)
    credential = replace(credential, rotate=rotate_value(view.client), heal=cause.heal)
    return NewCredential(credential, value, cause)
