"""The next key of a SigningKey: the first one, the successor, or an emergency key."""

from scopewright.api import SigningKey
from scopewright.api.login import ID_TOKENS
from scopewright.core.failed_writes import WriteDeferred, failed_write_of
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Ref, requested_rotation
from scopewright.core.plan import Event, Plan
from scopewright.core.records.codec import encode
from scopewright.core.records.names import ENTRY, PRIVATE_KEY_ENTRY, SIGNING_KEY_TYPE, key_record_name
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.keys import Timing, active_key, successor_due
from scopewright.core.signing.view import KeyAttempt, SigningView

MAX_KEYS = 64
"""Published keys beyond which `scopewright.dev/rotate` has to wait: verifiers limit the size of a JWKS."""


def plan_new_key(view: SigningView, key: SigningKey) -> Plan | None:
    """Return the plan that creates the first key, an emergency key or a due successor; None if no key is due.

    A JWKS without any record is a sign that all records were lost, which is an emergency too. The first key of ID
    tokens signs at once: it comes with the first IdentityProvider, before which no application had one to verify.
    """
    usable = view.usable
    if not usable or _is_interrupted(view):
        is_first = not view.keys
        emergency = bool(view.own) or (is_first and view.jwks is not None)
        at_once = emergency or is_first or view.sign_at_once or view.name == ID_TOKENS
        return _create(view, key, at_once=at_once, emergency=emergency)
    newest = max(usable, key=lambda r: r.creation_time)
    due = successor_due(usable, Timing.of(key, view.config))
    published = sum(1 for k in view.own if k.record.published_at(view.now))
    rotate = requested_rotation(key.metadata.annotations)
    requested = rotate not in ("", newest.rotate) and newest.signing_start_time is not None and published < MAX_KEYS
    if not requested and (due is None or view.now < due):
        return None
    return _create(view, key, at_once=requested and view.sign_at_once, emergency=False)


def _is_interrupted(view: SigningView) -> bool:
    """Whether the signing key was lost or revoked before the next one may sign. A key that signs early is then better
    than no tokens.
    """
    started = any(k.record.signing_start_time and k.record.signing_start_time <= view.now for k in view.own)
    pending = any(record.at_once and record.signing_start_time is None for record in view.usable)
    return started and not pending and active_key(view.usable, view.now) is None


def _create(view: SigningView, key: SigningKey, *, at_once: bool, emergency: bool) -> Plan:
    algorithm = key.spec.jose_algorithm
    attempt = _last_attempt(view, algorithm) or KeyAttempt(view.generate_key(algorithm), algorithm)
    record = KeyRecord(
        kid=attempt.key.jwk["kid"],
        signing_key=view.name,
        algorithm=algorithm,
        config_map=view.config_map or key.spec.jwks.config_map_name,
        jwk=attempt.key.jwk,
        creation_time=view.now,
        rotate=requested_rotation(key.metadata.annotations),
        at_once=at_once,
    )
    write = Desired(
        ref=_ref(view, attempt),
        type=SIGNING_KEY_TYPE,
        entries={ENTRY: encode(record), PRIVATE_KEY_ENTRY: attempt.key.pem},
        labels={MANAGED_BY: MANAGER},
    )
    event = (
        Event(
            "EmergencyKey",
            f"key {record.kid} signs at once, because no other key can: verifiers with a cached JWKS refuse its tokens "
            "until they fetch the JWKS again",
            warning=True,
        )
        if emergency
        else Event("KeyCreated", f"key {record.kid} was created and will be published ahead of its use")
    )
    return Plan((write,), events=(event,), attempt=attempt)


def _last_attempt(view: SigningView, algorithm: str) -> KeyAttempt | None:
    """Return the key of the last attempt if it is still to be written; `WriteDeferred` before its retry is due."""
    last = view.attempt
    if last is None or _ref(view, last) in {k.existing.ref for k in view.keys}:
        return None
    if failed_write := failed_write_of(view.failed_writes, _ref(view, last)):
        raise WriteDeferred(failed_write)
    return last if last.algorithm == algorithm else None


def _ref(view: SigningView, attempt: KeyAttempt) -> Ref:
    return Ref("Secret", view.config.namespace, key_record_name(attempt.key.jwk["kid"]))
