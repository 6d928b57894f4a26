"""Plans for signing keys beyond the golden cases: states in which tokens could not be verified, or not be issued."""

from datetime import timedelta

from scopewright.core.objects import Desired
from scopewright.core.plan import Plan
from scopewright.core.records.codec import decode
from scopewright.core.records.names import ENTRY
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import jwks
from scopewright.core.signing.keys import Timing, successor_due
from scopewright.core.signing.plan import plan_signing_key
from tests.harness.samples import NAMESPACE
from tests.unit.core.builders import CONFIG, NOW, existing, held, key_record, signing_key, signing_view

HOUR = timedelta(hours=1)


def signing_record(kid: str, start: timedelta, end: timedelta, **more: object) -> KeyRecord:
    return key_record(
        kid,
        NOW + start - HOUR,
        signing_start_time=NOW + start,
        signing_end_time=NOW + end,
        verification_end_time=NOW + end + timedelta(minutes=66),
        **more,
    )


def written(plan: Plan) -> list[KeyRecord]:
    data = [w.entries[ENTRY] for w in plan.writes if isinstance(w, Desired) and ENTRY in w.entries]
    return [decode(KeyRecord, d) for d in data if isinstance(d, bytes)]


def test_a_deleted_signing_key_without_keys_has_nothing_to_do() -> None:
    assert not plan_signing_key(signing_view(None)).writes


def test_a_deleted_signing_key_whose_keys_only_verify_has_nothing_to_write() -> None:
    ended = held(signing_record("a", -40 * HOUR, -HOUR / 2))
    content = jwks((ended,), "scopewright-jwks", NOW)
    published = existing("ConfigMap", NAMESPACE, "scopewright-jwks", {"jwks.json": content})
    plan = plan_signing_key(signing_view(None, ended, jwks=published))
    assert not plan.writes
    assert plan.due == ended.record.verification_end_time


def test_a_revoked_before_in_the_future_does_not_revoke_keys_repeatedly() -> None:
    """A typo in the year must not empty the JWKS at each reconciliation."""
    key = signing_key(revokedBefore="2027-11-22T12:00:00Z")
    fresh = held(key_record("a", NOW - timedelta(seconds=1), at_once=True))
    assert not [r for r in written(plan_signing_key(signing_view(key, fresh))) if r.revoked_time]


def test_a_longer_rotation_ends_before_the_signing_key_does() -> None:
    """`every` was 24 h and is a year now: the successor is published in time, and no emergency key is needed."""
    key = signing_key(rotation={"every": "8760h", "publishAhead": "24h"})
    record = signing_record("a", -HOUR, timedelta(days=8))
    timing = Timing.of(key, CONFIG)
    due = successor_due((record,), timing)
    assert due is not None
    assert record.signing_end_time is not None
    assert due + timing.lead_time <= record.signing_end_time


def test_a_lost_private_key_of_the_active_key_causes_an_emergency_key() -> None:
    """One key signs at once, with a warning. Otherwise no token could be issued for a day."""
    lost = held(signing_record("a", -700 * HOUR, 188 * HOUR), has_private_key=False)
    pending = held(signing_record("b", 20 * HOUR, 900 * HOUR))
    content = jwks((lost, pending), "scopewright-jwks", NOW)
    published = existing("ConfigMap", NAMESPACE, "scopewright-jwks", {"jwks.json": content})
    plan = plan_signing_key(signing_view(signing_key(), lost, pending, jwks=published))
    assert [r.at_once for r in written(plan)] == [True]
    assert [event.reason for event in plan.events] == ["EmergencyKey"]


def test_a_key_signs_only_after_the_config_map_that_its_record_names_has_it() -> None:
    """The name of the ConfigMap has changed: the key is in no JWKS, and must not get its times."""
    moved = signing_key(jwks={"configMapName": "another"})
    fresh = held(key_record("a", NOW - HOUR))
    empty = existing("ConfigMap", NAMESPACE, "another", {"jwks.json": jwks((), "another", NOW)})
    plan = plan_signing_key(signing_view(moved, fresh, jwks=empty))
    assert not [r for r in written(plan) if r.signing_start_time]


def test_the_jwks_has_the_same_bytes_for_the_same_keys_in_any_order() -> None:
    a, b = held(signing_record("a", -HOUR, HOUR)), held(signing_record("b", -2 * HOUR, HOUR))
    assert jwks((a, b), "scopewright-jwks", NOW) == jwks((b, a), "scopewright-jwks", NOW)


def test_keys_of_another_configmap_are_not_in_the_jwks() -> None:
    other = held(signing_record("b", -HOUR, HOUR, config_map="other"))
    assert b'"b"' not in jwks((other,), "scopewright-jwks", NOW)


def test_where_the_jwks_is_not_cached_a_second_signing_key_signs_at_once() -> None:
    """In `scopewright dev`; so does a requested rotation. In a cluster both wait until all verifiers know the key."""
    other = held(signing_record("a", -HOUR, timedelta(days=8)))
    asked = signing_key().model_copy(deep=True)
    asked.metadata.annotations["scopewright.dev/rotate"] = "now"
    for dev in (True, False):
        second = signing_view(signing_key("rsa"), other, name="rsa", sign_at_once=dev)
        rotated = signing_view(asked, other, sign_at_once=dev)
        assert [r.at_once for view in (second, rotated) for r in written(plan_signing_key(view))] == [dev, dev]


def test_where_the_jwks_is_not_cached_a_timely_rotation_is_published_ahead() -> None:
    due = held(signing_record("a", timedelta(days=-40), timedelta(days=1)))
    assert [r.at_once for r in written(plan_signing_key(signing_view(signing_key(), due, sign_at_once=True)))] == [
        False
    ]
