"""Status of a SigningKey."""

from datetime import datetime

from scopewright.api.login import ID_TOKENS
from scopewright.api.signingkey import KeyStatus, SigningKeyStatus
from scopewright.core.failures import Rejected
from scopewright.core.plan import NOTHING, ConditionUpdate, Plan, ready, soonest, stalled, status_plan, waiting
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.keys import Timing, active_key, key_state, successor_due
from scopewright.core.signing.view import SigningView


def readiness(view: SigningView) -> tuple[ConditionUpdate, ...]:
    key, config = view.key, view.config
    if key and key.namespace != config.namespace:
        return stalled(wrong_namespace(view))
    if key and view.is_forbidden:
        advice = (
            "delete this SigningKey, and the operator creates it again with ES256"
            if key.name == ID_TOKENS
            else "create another SigningKey with ES256, PS256 or Ed25519, set spec.tokens.signingKey of the "
            "ResourceServers and spec.login.idTokenSigningKey of the OAuthClients to its name, and delete this one"
        )
        message = (
            f"the platform's profile {config.profile} does not allow {key.spec.algorithm}, and the issuer signs "
            f"nothing with it: {advice}"
        )
        return stalled(Rejected("ProfileForbids", message))
    if key and (name := view.config_map) != key.spec.jwks.config_map_name:
        message = f"its keys are published in ConfigMap {name}: set spec.jwks.configMapName back to that"
        return stalled(Rejected("ConfigMapFixed", message))
    signing = active_key(view.usable, view.now)
    if signing:
        return ready("Signing", f"key {signing.kid} signs")
    start = min((r.signing_start_time for r in view.usable if r.signing_start_time), default=None)
    if start is None:
        return waiting("NoKey", "it has no key that signs, now or later")
    return waiting("Publishing", f"the first key signs at {start:%FT%TZ}, when every verifier can know it")


def wrong_namespace(view: SigningView) -> Rejected:
    message = f"a SigningKey belongs in the issuer's namespace, {view.config.namespace}: apply it there"
    return Rejected("WrongNamespace", message)


def signing_key_status(view: SigningView, conditions: tuple[ConditionUpdate, ...]) -> Plan:
    if view.key is None:
        return NOTHING
    published = sorted(
        (k.record for k in view.own if k.record.published_at(view.now)), key=lambda record: record.creation_time
    )
    keys = [_key_status(record, view) for record in published]
    return status_plan(
        SigningKeyStatus, view.key, conditions, view.events, view.now, rotation=True, due=next_change(view), keys=keys
    )


def _key_status(record: KeyRecord, view: SigningView) -> KeyStatus:
    return KeyStatus(
        kid=record.kid,
        state=key_state(record, view.usable, view.now).value,
        signing_start_time=record.signing_start_time,
        signing_end_time=record.signing_end_time,
        verification_end_time=record.verification_end_time,
    )


def next_change(view: SigningView) -> datetime | None:
    """Return when time alone changes the plan next."""
    times = [
        t
        for k in view.own
        for t in (k.record.signing_start_time, k.record.signing_end_time, k.record.verification_end_time)
    ]
    successor = successor_due(view.usable, Timing.of(view.key, view.config)) if view.key and view.usable else None
    revocation = view.key.spec.revoked_before if view.key else None
    return soonest(*(t for t in (*times, successor, revocation) if t and view.now < t))
