"""The plan for one OAuthClient: its record, its Secret, its status."""

from contextlib import suppress
from dataclasses import replace
from typing import Final

from scopewright.core.authentication import Made, made, made_for, service_account
from scopewright.core.client_record import live_credentials, record_upkeep, record_with, record_write
from scopewright.core.client_secret import adoptable, former_secrets, look, refuse_conflict, secret_upkeep, secret_write
from scopewright.core.client_status import client_status, readiness
from scopewright.core.client_view import ClientView, Found
from scopewright.core.credentials import (
    Cause,
    Standing,
    cause_for_new,
    cause_to_rotate,
    may_heal,
    rotate_value,
    with_new,
)
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import digest, is_paused
from scopewright.core.plan import NOTHING, Happening, Plan, stalled
from scopewright.core.records import Credential

_ADOPTED: Final = Happening("CredentialAdopted", "the sealed Secret was there before the record: its credential stays")
_RESTORED: Final = Happening(
    "CredentialRestored", "the Secret was restored: what it holds is accepted again, and what followed it ends"
)


def plan_client(view: ClientView) -> Plan:
    meta = view.client.metadata
    if is_paused(meta.annotations) or meta.deletion_timestamp:
        return NOTHING
    found = look(view)
    if view.trouble:
        return client_status(view, found, stalled(view.trouble))
    try:
        step = _step(view, found)
    except (Rejected, Unavailable) as why:
        upkeep = record_upkeep(view, found)
        if upkeep.writes:
            return upkeep
        if isinstance(why, Unavailable):
            raise
        return client_status(view, found, stalled(why))
    if step.writes:
        return step
    return client_status(view, found, readiness(view))


def _step(view: ClientView, found: Found) -> Plan:
    """The next writes: none when everything is as it should be."""
    refuse_conflict(view, found)
    return _provided(view, found) if made_for(view.client) else _brought(view, found)


def _provided(view: ClientView, found: Found) -> Plan:
    """With a credential that the operator makes: adopted, restored, issued, or as it is."""
    record, current = found.record, found.current
    if record is None and found.standing is Standing.SEALED and (adopted := adoptable(view)):
        return Plan((record_write(view, record_with(view, found, (adopted,))),), happenings=(_ADOPTED,))
    if record and current is None and found.standing is Standing.SEALED and (credentials := _restored(view, found)):
        return Plan((record_write(view, record_with(view, found, credentials)),), happenings=(_RESTORED,))
    cause = cause_for_new(view.client, record, current, found.standing, view.now)
    if cause:
        try:
            return _issue(view, found, cause, made_for(view.client))
        except Unavailable:
            if current is None:
                raise
    if current is None or record is None:
        raise AssertionError("without a cause there is a current credential")
    upkeep = record_upkeep(view, found)
    writes = (*upkeep.writes, *secret_upkeep(view, current), *former_secrets(view, record))
    return Plan(writes, happenings=upkeep.happenings)


def _brought(view: ClientView, found: Found) -> Plan:
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
    first = () if view.record else (record_write(view, record_with(view, found, ())),)
    upkeep = record_upkeep(view, found)
    kept = current if missing else None
    cause = cause_to_rotate(view.client, kept, view.now) if kept else None
    if kept and cause:
        with suppress(Unavailable):
            return _issue(view, found, cause, made(kept))
    former = former_secrets(view, record) if record else ()
    writes = (*first, *upkeep.writes, *secret_upkeep(view, kept), *former)
    if missing and not writes:
        raise missing
    changed = (_withdrawn(view, current),) if current and not kept else ()
    return Plan(writes, happenings=(*upkeep.happenings, *changed))


def _withdrawn(view: ClientView, current: Credential) -> Happening:
    message = (
        f"the method changed: the {made(current)} leaves Secret {view.client.secret_name}, and works until its overlap "
        "ends"
    )
    return Happening("CredentialChanged", message)


def _restored(view: ClientView, found: Found) -> tuple[Credential, ...]:
    """The record's credentials with the one of a Secret that was restored as the current one; empty if it may not be.

    What was replaced because `scopewright.dev/rotate` asked for it does not come back: it may have leaked.
    """
    held, record = adoptable(view), found.record
    if held is None or record is None:
        return ()
    latest = record.credentials[-1] if record.credentials else None
    known = next((c for c in record.credentials if c.sha256 == held.sha256), None)
    rotated_for = known.rotate if known else ""
    if latest and rotated_for != latest.rotate:
        return ()
    others = tuple(c for c in record.credentials if c.sha256 != held.sha256)
    return with_new(others, replace(held, rotate=rotated_for), None, view.now)


def _issue(view: ClientView, found: Found, cause: Cause, kind: Made | None) -> Plan:
    may_heal(found.record, cause, view.now)
    new, value = _fresh(view, kind)
    new = replace(new, rotate=rotate_value(view.client), heal=cause.heal)
    credentials = with_new(live_credentials(view, found), new, found.current, view.now)
    return Plan(
        (record_write(view, record_with(view, found, credentials)), secret_write(view, new, value)),
        happenings=(Happening(cause.reason, cause.message, warning=cause.heal),),
    )


def _fresh(view: ClientView, kind: Made | None) -> tuple[Credential, bytes]:
    """A new credential, and what the Secret is to hold of it."""
    if kind == "key pair":
        pair = view.make_pair()
        return Credential(digest(pair.private), view.now, jwk=pair.jwk), pair.private
    secret = view.mint()
    return Credential(digest(secret), view.now), secret.encode()
