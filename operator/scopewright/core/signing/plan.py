"""The plan for one SigningKey: its keys' records, the JWKS that publishes them, its status."""

from dataclasses import replace
from datetime import datetime

from scopewright.api import SigningKey
from scopewright.core.failed_writes import (
    FailedWrite,
    WriteDeferred,
    allowed_writes,
    failed_write_of,
    not_ready,
    split_deferred,
)
from scopewright.core.failures import Rejected
from scopewright.core.lifecycle import PAUSED, deleting_conditions
from scopewright.core.objects import MANAGED_BY, MANAGER, Deletion, Desired, PreservedEntry, Write, is_paused
from scopewright.core.plan import Event, Plan, rotation_failing, stalled
from scopewright.core.records.codec import encode
from scopewright.core.records.names import ENTRY, PRIVATE_KEY_ENTRY, SIGNING_KEY_TYPE
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import StoredKey, publication
from scopewright.core.signing.keys import Timing, active_key, with_revocation, with_times
from scopewright.core.signing.new_key import plan_new_key
from scopewright.core.signing.status import next_change, readiness, signing_key_status, wrong_namespace
from scopewright.core.signing.view import SigningView


def plan_signing_key(view: SigningView) -> Plan:
    key = view.key
    if key and key.metadata.deletion_timestamp:
        return _deletion_plan(view, key)
    if key and is_paused(key.metadata.annotations):
        return signing_key_status(view, (*readiness(view), PAUSED))
    try:
        plan = _next_writes(view)
    except Rejected as why:
        return signing_key_status(view, stalled(why))
    except WriteDeferred as deferred:
        # A single request without a response is no reason to have no key at all: the write is retried soon.
        revocation = _revocation(view) if deferred.failed_write.is_reported else None
        return revocation or _failure_status(view, deferred.failed_write)
    if plan.writes:
        return plan
    if key is None:
        return Plan(due=next_change(view))
    return signing_key_status(view, readiness(view))


def _deletion_plan(view: SigningView, key: SigningKey) -> Plan:
    """Plan as if the object were deleted already: its keys complete their schedule, without a successor."""
    conditions = deleting_conditions(
        key.metadata, "its keys stay until the end of their schedule, and have no successor"
    )
    if key.namespace != view.config.namespace:
        return signing_key_status(view, conditions)
    plan = plan_signing_key(replace(view, key=None))
    return plan if plan.writes else replace(signing_key_status(view, conditions), due=plan.due)


def _failure_status(view: SigningView, failed_write: FailedWrite) -> Plan:
    """Ready is True if a key signs and no key is left to revoke; RotationFailing reports the failed write."""
    if view.key is None:
        return Plan(due=next_change(view))
    message = f"keys cannot be rotated: {failed_write.message}"
    works = active_key(view.usable, view.now) is not None and not view.to_revoke
    conditions = readiness(view) if works else not_ready(failed_write)
    return signing_key_status(view, (*conditions, rotation_failing(failed_write.reason, message)))


def _next_writes(view: SigningView) -> Plan:
    """Return the next writes, one stage at a time: the record of a key, then the JWKS, then the times of the key.

    Keys to revoke are revoked once a new key can sign, a few writes later, so that no request fails. They are revoked
    at once if the new key cannot be written.
    """
    if view.key and view.key.namespace != view.config.namespace:
        raise wrong_namespace(view)
    deferred = None
    try:
        if view.key and not view.is_forbidden and (new_key := plan_new_key(view, view.key)):
            return new_key
    except WriteDeferred as error:
        deferred = error
    if deferred and not deferred.failed_write.is_reported:
        raise deferred
    writes = allowed_writes(_publication(view), view.failed_writes) or allowed_writes(_times(view), view.failed_writes)
    if writes:
        return Plan(writes)
    if revocation := _revocation(view):
        return revocation
    if failed_write := failed_write_of(view.failed_writes, *(k.existing.ref for k in view.to_revoke)):
        raise WriteDeferred(failed_write)
    if deferred:
        raise deferred
    return Plan(allowed_writes(_removals(view), view.failed_writes))


def _revocation(view: SigningView) -> Plan | None:
    """Return the revocations that may be written now; None if there are none."""
    rewritten = (_rewrite(k, with_revocation(k.record, view.now), private=False) for k in view.to_revoke)
    writes, _ = split_deferred(rewritten, view.failed_writes)
    if not writes:
        return None
    message = (
        f"{len(writes)} keys were removed from the JWKS and no longer sign; verifiers refuse their tokens once they "
        "fetch the JWKS again, and a new key signs at once"
    )
    return Plan(writes, events=(Event("KeysRevoked", message, warning=True),))


def _publication(view: SigningView) -> tuple[Write, ...]:
    name = view.config_map
    return publication(name, view.jwks, view.keys, view.config, view.now) if name else ()


def _times(view: SigningView) -> tuple[Write, ...]:
    """Return the writes of the three times of each key that the JWKS now contains for the first time."""
    if view.key is None:
        return ()
    timing = Timing.of(view.key, view.config)
    new = [k for k in view.own if k.record in view.unended and k.record.signing_start_time is None]
    return tuple(_rewrite(k, with_times(k.record, timing, view.now), private=True) for k in new)


def _rewrite(key: StoredKey, record: KeyRecord, *, private: bool) -> Desired:
    entries: dict[str, bytes | PreservedEntry] = {ENTRY: encode(record)}
    if private and (pem := key.existing.entries.get(PRIVATE_KEY_ENTRY)):
        entries[PRIVATE_KEY_ENTRY] = PreservedEntry(PRIVATE_KEY_ENTRY, pem)
    return Desired(
        ref=key.existing.ref,
        type=SIGNING_KEY_TYPE,
        entries=entries,
        labels={MANAGED_BY: MANAGER},
        replaces=key.existing,
    )


def _removals(view: SigningView) -> tuple[Write, ...]:
    """Return deletions of keys that no valid token can name. A revoked key stays as long as its tokens were valid."""
    return tuple(Deletion(k.existing) for k in view.own if _has_ended(k.record, view.now))


def _has_ended(record: KeyRecord, now: datetime) -> bool:
    """Whether no token can name the key. A key that was revoked before its publication has signed nothing."""
    if record.verification_end_time is None:
        return record.revoked_time is not None
    return now >= record.verification_end_time
