"""A year of key rotations: a key signs at each instant, and each valid token can be verified with the JWKS."""

import json
from datetime import datetime, timedelta

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from scopewright.core.config import Config
from scopewright.core.objects import Ref
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.keys import KeyState, active_key, key_state
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

KEY = Ref("SigningKey", NAMESPACE, "default")


class KeyObserver:
    """Records when each key was published and which tokens are valid, and asserts invariant 2."""

    def __init__(self, harness: OperatorHarness) -> None:
        self.harness = harness
        self.published: dict[str, datetime] = {}
        self.tokens: list[tuple[str, datetime]] = []
        self.kids: set[str] = set()

    def observe(self) -> KeyRecord | None:
        harness, now = self.harness, self.harness.clock.now
        jwks, records = harness.jwks(), tuple(harness.key_records())
        for kid in jwks:
            self.published.setdefault(kid, now)
        assert not {r.kid for r in records if r.kid in self.kids and r.creation_time == now}, "a kid was used again"
        self.kids |= {r.kid for r in records}
        assert sum(key_state(r, records, now) is KeyState.ACTIVE for r in records) <= 1
        self.tokens = [(kid, exp) for kid, exp in self.tokens if exp > now]
        for kid, exp in self.tokens:
            assert kid in jwks, f"a token that is valid until {exp} cannot be verified at {now}"
        signing = active_key(records, now)
        if signing:
            lead = harness.config.min_lead_time + self.ahead()
            # The observer sees a publication some milliseconds later.
            assert signing.at_once or now + timedelta(seconds=1) >= self.published[signing.kid] + lead
            assert signing.verification_end_time
            self.tokens.append((signing.kid, now + harness.config.max_token_lifetime))
            assert now + harness.config.max_token_lifetime <= signing.verification_end_time
        return signing

    def ahead(self) -> timedelta:
        spec = self.harness.store.declared[KEY]["spec"].get("rotation", {})
        return timedelta(hours=int(spec.get("publishAhead", "24h").removesuffix("h")))


@settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate])
@given(
    st.sampled_from([("720h", "24h"), ("48h", "24h"), ("2160h", "168h")]),
    st.lists(st.integers(5, 60), min_size=1, max_size=4),
    st.lists(st.integers(0, 365 * 24), max_size=3),
)
def test_a_year_of_rotations(rotation: tuple[str, str], hours: list[int], outages: list[int]) -> None:
    """The operator reconciles at irregular intervals, and is down sometimes for less than the outage budget."""
    harness = OperatorHarness(Config(issuer=ISSUER))
    every, ahead = rotation
    harness.apply("SigningKey", NAMESPACE, "default", {"rotation": {"every": every, "publishAhead": ahead}})
    harness.settle()
    observer = KeyObserver(harness)
    end, n = harness.clock.now + timedelta(days=365), 0
    down_until = harness.clock.now
    starts = sorted(harness.clock.now + timedelta(hours=h) for h in outages)
    while harness.clock.now < end:
        assert observer.observe(), f"no key signs at {harness.clock.now}"
        # Advance to the next due time, or by the next interval if that is earlier.
        step = timedelta(hours=hours[n % len(hours)])
        due = harness.next_due.get(KEY)
        harness.clock.now = (
            min(harness.clock.now + step, due) if due and due > harness.clock.now else harness.clock.now + step
        )
        n += 1
        if starts and harness.clock.now >= starts[0]:
            down_until = max(down_until, starts.pop(0) + timedelta(days=4))
        if harness.clock.now >= down_until:
            harness.settle()
    assert len(observer.kids) >= 365 * 24 // int(every.removesuffix("h")) // 2


def test_an_emergency_key_signs_at_once_and_revoked_kids_never_come_back() -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    old_kids = {r.kid for r in harness.key_records()}
    harness.clock.advance(days=3)
    harness.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": "2026-11-25T00:00:00Z"})
    harness.settle()
    assert not old_kids & harness.jwks()
    emergency_key = active_key(tuple(harness.key_records()), harness.clock.now)
    assert emergency_key
    assert emergency_key.at_once
    for _ in range(60):
        harness.clock.advance(days=1)
        harness.settle()
        assert not old_kids & harness.jwks()
    assert old_kids - {r.kid for r in harness.key_records()} == old_kids


def test_a_deleted_signing_key_retires_its_keys_and_a_new_one_adopts_them() -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    kid = harness.key_records()[0].kid
    harness.delete(KEY)
    harness.settle()
    assert harness.jwks() == {kid}
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    assert [r.kid for r in harness.key_records()] == [kid]
    harness.delete(KEY)
    harness.settle()
    for _ in range(45):
        harness.clock.advance(days=1)
        harness.settle()
    assert not harness.key_records()
    assert not harness.jwks()


def test_a_second_reconciliation_moves_no_instant() -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    before = harness.key_records()
    harness.clock.advance(hours=5)
    harness.settle()
    assert harness.key_records() == before


@pytest.mark.parametrize("lengthened", ["8760h", "2000h"])
def test_a_longer_rotation_needs_no_emergency_key(lengthened: str) -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default", {"rotation": {"every": "48h", "publishAhead": "24h"}})
    harness.settle()
    harness.apply("SigningKey", NAMESPACE, "default", {"rotation": {"every": lengthened, "publishAhead": "24h"}})
    harness.settle()
    observer = KeyObserver(harness)
    for _ in range(40 * 4):
        assert observer.observe()
        harness.clock.advance(hours=6)
        harness.settle()
    assert not [event for event in harness.events if event.reason == "EmergencyKey"]


def test_a_revoked_before_in_the_future_revokes_once_at_that_instant() -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default", {"revokedBefore": "2026-11-24T00:00:00Z"})
    harness.settle()
    assert len(harness.key_records()) == 1
    assert harness.next_due[KEY] == datetime.fromisoformat("2026-11-24T00:00:00+00:00")
    harness.clock.now = harness.next_due[KEY]
    harness.settle()
    assert [bool(r.revoked_time) for r in harness.key_records()] == [True, False]
    harness.clock.advance(days=1)
    harness.settle()
    assert len(harness.key_records()) == 2


def test_the_jwks_contains_only_public_members() -> None:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.settle()
    text = harness.store.entry(Ref("ConfigMap", NAMESPACE, "scopewright-jwks"), "jwks.json")
    for key in json.loads(text)["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
