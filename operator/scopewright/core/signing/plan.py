"""The plan for one SigningKey: its keys' records, the JWKS that publishes them, its status."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from scopewright.api import SigningKey
from scopewright.api.signingkey import KeyStatus, SigningKeyStatus
from scopewright.core.config import Config
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
from scopewright.core.objects import (
    MANAGED_BY,
    MANAGER,
    Deletion,
    Desired,
    Existing,
    PreservedEntry,
    Ref,
    Write,
    is_paused,
    requested_rotation,
)
from scopewright.core.plan import (
    NOTHING,
    ConditionUpdate,
    Event,
    Plan,
    append_history,
    as_json,
    merge_conditions,
    ready,
    rotation_events,
    rotation_failing,
    soonest,
    stalled,
    waiting,
)
from scopewright.core.profile import allows
from scopewright.core.records import (
    ENTRY,
    PRIVATE_KEY_ENTRY,
    SIGNING_KEY_TYPE,
    KeyRecord,
    encode,
    key_record_name,
)
from scopewright.core.signing.jwks import HeldKey, publication
from scopewright.core.signing.keys import Timing, active_key, key_state, successor_due, with_revocation, with_times

MAX_KEYS: Final = 64
"""Published at once, before `scopewright.dev/rotate` has to wait: verifiers bound what they read."""


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key pair: the public JWK with `kid`, `alg` and `use`, and the private key as PKCS#8 PEM."""

    jwk: dict[str, str]
    pem: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyAttempt:
    """A key whose record could not be written, and what it is a key for."""

    fresh: GeneratedKey
    algorithm: str


@dataclass(frozen=True, slots=True)
class SigningView:
    """All that the plan for one SigningKey depends on. `keys` are those of every SigningKey, deleted ones too."""

    name: str
    key: SigningKey | None
    keys: tuple[HeldKey, ...]
    jwks: Existing | None
    config: Config
    now: datetime
    make_key: Callable[[str], GeneratedKey]
    events: tuple[Event, ...] = ()
    failed_writes: tuple[FailedWrite, ...] = ()
    """Writes that failed and are not to be tried again yet."""
    attempt: KeyAttempt | None = None
    """The key that the last attempt was to write, to be tried again."""
    sign_at_once: bool = False
    """Whether a first key, or one that is asked for, waits for no cache of the JWKS (`scopewright dev`)."""

    @property
    def own(self) -> tuple[HeldKey, ...]:
        return tuple(k for k in self.keys if k.record.signing_key == self.name)

    @property
    def usable(self) -> tuple[KeyRecord, ...]:
        """Keys that sign now or will."""
        intact = (k.record for k in self.own if k.intact)
        return tuple(record for record in intact if _has_future(record, self.now) and not self.is_doomed(record))

    def is_doomed(self, record: KeyRecord) -> bool:
        """Whether `revokedBefore`, which has come, says that this key must go."""
        before = self.key.spec.revoked_before if self.key else None
        return before is not None and before <= self.now and record.creation_time < before


def plan_signing_key(view: SigningView) -> Plan:
    key = view.key
    if key and key.metadata.deletion_timestamp:
        return _departing(view, key)
    if key and is_paused(key.metadata.annotations):
        return _status(view, (*_said(view), PAUSED))
    try:
        step = _step(view)
    except Rejected as why:
        return _status(view, stalled(why))
    except WriteDeferred as held:
        # One request without an answer is no reason to be without any key: a moment later it is tried again.
        revocation = _revocation(view) if held.failed_write.is_reported else None
        return revocation or _failing(view, held.failed_write)
    if step.writes:
        return step
    if key is None:
        return Plan(due=_due(view))
    return _status(view, _said(view))


def _departing(view: SigningView, key: SigningKey) -> Plan:
    """As if it were gone already: its keys go on to the end of their schedule, and have no successor."""
    said = deleting_conditions(key.metadata, "its keys go on to the end of their schedule, and have no successor")
    if key.namespace != view.config.namespace:
        return _status(view, said)
    step = plan_signing_key(replace(view, key=None))
    return step if step.writes else replace(_status(view, said), due=step.due)


def _failing(view: SigningView, failed_write: FailedWrite) -> Plan:
    """Ready is what signs, and nothing that is revoked; that the next key cannot be written is said beside it."""
    if view.key is None:
        return Plan(due=_due(view))
    what = f"keys cannot be rotated: {failed_write.message}"
    well = active_key(view.usable, view.now) is not None and not any(_is_to_be_revoked(view, k) for k in view.own)
    said = _said(view) if well else not_ready(failed_write)
    return _status(view, (*said, rotation_failing(failed_write.reason, what)))


def config_map_of(view: SigningView) -> str | None:
    """The ConfigMap that publishes this SigningKey: where its keys are, else where its first one shall be."""
    declared = view.key.spec.jwks.config_map_name if view.key else None
    return next((k.record.config_map for k in view.own), declared)


def _step(view: SigningView) -> Plan:
    """The next writes, one stage at a time: a key is not in the JWKS before its record is there, nor signs before.

    What is revoked goes once a fresh key can sign, a few writes later, so that no request fails; or at once, if that
    key cannot be had.
    """
    if view.key and view.key.namespace != view.config.namespace:
        raise _wrong_namespace(view)
    on_hold = None
    try:
        if view.key and not _is_forbidden(view) and (fresh := _fresh(view, view.key)):
            return fresh
    except WriteDeferred as held:
        on_hold = held
    if on_hold and not on_hold.failed_write.is_reported:
        raise on_hold
    writes = allowed_writes(_publication(view), view.failed_writes) or allowed_writes(
        _instants(view), view.failed_writes
    )
    if writes:
        return Plan(writes)
    if revocation := _revocation(view):
        return revocation
    doomed = [k.existing.ref for k in view.own if _is_to_be_revoked(view, k)]
    if failed_write := failed_write_of(view.failed_writes, *doomed):
        raise WriteDeferred(failed_write)
    if on_hold:
        raise on_hold
    return Plan(allowed_writes(_removals(view), view.failed_writes))


def _is_to_be_revoked(view: SigningView, key: HeldKey) -> bool:
    return key.record.revoked_time is None and view.is_doomed(key.record)


def _wrong_namespace(view: SigningView) -> Rejected:
    message = f"a SigningKey belongs into the issuer's namespace, {view.config.namespace}: apply it there"
    return Rejected("WrongNamespace", message)


def _revocation(view: SigningView) -> Plan | None:
    """The revocations that may be written now, if there are any."""
    doomed = [k for k in view.own if _is_to_be_revoked(view, k)]
    rewritten = (_rewrite(k, with_revocation(k.record, view.now), private=False) for k in doomed)
    writes, _ = split_deferred(rewritten, view.failed_writes)
    if not writes:
        return None
    message = (
        f"{len(writes)} keys left the JWKS and sign no more; tokens that they signed are refused as verifiers fetch "
        "the JWKS again, and a fresh key signs at once"
    )
    told = Event("KeysRevoked", message, warning=True)
    return Plan(writes, events=(told,))


def _fresh(view: SigningView, key: SigningKey) -> Plan | None:
    """A first key, one in an emergency, or the successor in time. A JWKS without any record is what a loss has left."""
    usable = view.usable
    if not usable or _is_interrupted(view):
        lost = _first_of_all(view) and view.jwks is not None
        emergency = bool(view.own) or lost
        at_once = emergency or _first_of_all(view) or view.sign_at_once
        return _creation(view, key, at_once=at_once, emergency=emergency)
    newest = max(usable, key=lambda r: r.creation_time)
    due = successor_due(usable, Timing.of(key, view.config))
    with_times = sum(1 for k in view.own if k.record.published_at(view.now))
    wanted = requested_rotation(key.metadata.annotations)
    asked = wanted not in ("", newest.rotate) and newest.signing_start_time is not None and with_times < MAX_KEYS
    if not asked and (due is None or view.now < due):
        return None
    return _creation(view, key, at_once=asked and view.sign_at_once, emergency=False)


def _is_interrupted(view: SigningView) -> bool:
    """What signed is lost or revoked, the next key is not due: no token for a day is worse than an early one."""
    begun = any(k.record.signing_start_time and k.record.signing_start_time <= view.now for k in view.own)
    on_its_way = any(record.at_once and record.signing_start_time is None for record in view.usable)
    return begun and not on_its_way and active_key(view.usable, view.now) is None


def _first_of_all(view: SigningView) -> bool:
    """No other key was ever published, or nothing is left of any: nothing that verifiers could fall back on."""
    return not view.keys


def _creation(view: SigningView, key: SigningKey, *, at_once: bool, emergency: bool) -> Plan:
    algorithm = key.spec.jose_algorithm
    attempt = _last_attempt(view, algorithm) or KeyAttempt(view.make_key(algorithm), algorithm)
    fresh = attempt.fresh
    record = KeyRecord(
        kid=fresh.jwk["kid"],
        signing_key=view.name,
        algorithm=algorithm,
        config_map=config_map_of(view) or key.spec.jwks.config_map_name,
        jwk=fresh.jwk,
        creation_time=view.now,
        rotate=requested_rotation(key.metadata.annotations),
        at_once=at_once,
    )
    write = Desired(
        ref=Ref("Secret", view.config.namespace, key_record_name(record.kid)),
        type=SIGNING_KEY_TYPE,
        entries={ENTRY: encode(record), PRIVATE_KEY_ENTRY: fresh.pem},
        labels={MANAGED_BY: MANAGER},
    )
    told = (
        Event(
            "EmergencyKey",
            f"key {record.kid} signs at once, because no other can: verifiers that cached the JWKS refuse its tokens "
            "until they fetch it again",
            warning=True,
        )
        if emergency
        else Event("KeyCreated", f"key {record.kid} is made and will be published ahead of its use")
    )
    return Plan((write,), events=(told,), attempt=attempt)


def _last_attempt(view: SigningView, algorithm: str) -> KeyAttempt | None:
    """The key of the last attempt, if it is still to be written; `WriteDeferred` before the time of its retry."""
    last = view.attempt
    if last is None or _key_ref(view, last) in {k.existing.ref for k in view.keys}:
        return None
    if failed_write := failed_write_of(view.failed_writes, _key_ref(view, last)):
        raise WriteDeferred(failed_write)
    return last if last.algorithm == algorithm else None


def _key_ref(view: SigningView, key: KeyAttempt) -> Ref:
    return Ref("Secret", view.config.namespace, key_record_name(key.fresh.jwk["kid"]))


def _publication(view: SigningView) -> tuple[Write, ...]:
    name = config_map_of(view)
    return publication(name, view.jwks, view.keys, view.config, view.now) if name else ()


def _instants(view: SigningView) -> tuple[Write, ...]:
    """The three instants of each key that the JWKS now holds for the first time."""
    if view.key is None:
        return ()
    timing = Timing.of(view.key, view.config)
    new = [k for k in view.own if k.record in view.usable and k.record.signing_start_time is None]
    return tuple(_rewrite(k, with_times(k.record, timing, view.now), private=True) for k in new)


def _rewrite(key: HeldKey, record: KeyRecord, *, private: bool) -> Desired:
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
    """Records of keys that no valid token can name any more; a revoked one stays as long as it would have verified."""
    return tuple(Deletion(k.existing) for k in view.own if _is_over(k.record, view.now))


def _is_over(record: KeyRecord, now: datetime) -> bool:
    """One that was revoked before it was ever published has signed nothing."""
    if record.verification_end_time is None:
        return record.revoked_time is not None
    return now >= record.verification_end_time


def _has_future(record: KeyRecord, now: datetime) -> bool:
    return record.revoked_time is None and (record.signing_end_time is None or now < record.signing_end_time)


def _is_forbidden(view: SigningView) -> bool:
    """Whether the profile does not allow its algorithm: it gets no new key, and those that there are retire."""
    return view.key is not None and not allows(view.config.profile, view.key.spec.jose_algorithm)


def _said(view: SigningView) -> tuple[ConditionUpdate, ...]:
    if view.key and view.key.namespace != view.config.namespace:
        return stalled(_wrong_namespace(view))
    if view.key and _is_forbidden(view):
        message = (
            f"the platform's profile {view.config.profile} does not allow {view.key.spec.algorithm}, and the issuer "
            f"signs nothing with it: create another SigningKey with ES256, PS256 or Ed25519, name it in the "
            "ResourceServers' tokens.signingKey, and delete this one"
        )
        return stalled(Rejected("ProfileForbids", message))
    if view.key and (name := config_map_of(view)) != view.key.spec.jwks.config_map_name:
        message = f"its keys are published in ConfigMap {name}: set spec.jwks.configMapName back to that"
        return stalled(Rejected("ConfigMapFixed", message))
    signing = active_key(view.usable, view.now)
    if signing:
        return ready("Signing", f"key {signing.kid} signs")
    start = min((r.signing_start_time for r in view.usable if r.signing_start_time), default=None)
    if start is None:
        return waiting("NoKey", "it has no key that signs, now or later")
    return waiting("Publishing", f"the first key signs at {start:%FT%TZ}, when every verifier can know it")


def _status(view: SigningView, said: tuple[ConditionUpdate, ...]) -> Plan:
    if view.key is None:
        return NOTHING
    previous, generation = view.key.status, view.key.metadata.generation
    before = previous.conditions if previous else ()
    conditions, changes = merge_conditions(said, before, generation, view.now)
    changes = (*changes, *rotation_events(said, before))
    shown = [k.record for k in view.own if k.record.published_at(view.now)]
    status = SigningKeyStatus(
        observed_generation=generation,
        keys=[_key_status(r, view) for r in sorted(shown, key=lambda r: r.creation_time)],
        history=append_history(previous.history if previous else (), (*view.events, *changes), view.now),
        conditions=conditions,
    )
    return Plan(status=as_json(status), events=changes, due=_due(view))


def _key_status(record: KeyRecord, view: SigningView) -> KeyStatus:
    return KeyStatus(
        kid=record.kid,
        state=key_state(record, view.usable, view.now).value,
        signing_start_time=record.signing_start_time,
        signing_end_time=record.signing_end_time,
        verification_end_time=record.verification_end_time,
    )


def _due(view: SigningView) -> datetime | None:
    ahead = [
        t
        for k in view.own
        for t in (k.record.signing_start_time, k.record.signing_end_time, k.record.verification_end_time)
        if t and view.now < t
    ]
    successor = successor_due(view.usable, Timing.of(view.key, view.config)) if view.key and view.usable else None
    revocation = view.key.spec.revoked_before if view.key else None
    return soonest(*ahead, *(t for t in (successor, revocation) if t and view.now < t))
