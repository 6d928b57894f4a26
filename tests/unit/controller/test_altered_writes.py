"""Writes that a policy or another controller alters are reported, and not repeated without need."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from scopewright.controller import altered_writes
from scopewright.controller.altered_writes import MAX_REPEATS, REPEAT_WINDOW, AlteredWrites
from scopewright.core.failures import Unavailable
from scopewright.core.objects import MANAGED_BY, Desired, Existing, PreservedEntry, Ref, digest
from tests.harness.memory_store import MemoryStore
from tests.harness.operator import OperatorHarness
from tests.harness.samples import NAMESPACE

WORKER = ("OAuthClient", "leave", "worker")


class StoreWithPolicy(MemoryStore):
    """A mutating policy adds `more` to the entries of what is written into `where`, and applies `rewrite`."""

    more: Mapping[str, bytes] = {}
    rewrite: Callable[[Desired], Desired] = staticmethod(lambda desired: desired)
    where: tuple[str, ...] = ("leave",)
    previews = 0

    async def write(self, desired: Desired) -> Existing:
        return await super().write(self._mutated(desired))

    async def preview(self, desired: Desired) -> Existing | None:
        type(self).previews += 1
        mutated = self._mutated(desired)
        return Existing(
            desired.ref, "uid", "1", desired.type, mutated.labels, mutated.annotations,
            (desired.owner.uid,) if desired.owner else (), mutated.digests(),
        )  # fmt: skip

    def _mutated(self, desired: Desired) -> Desired:
        if desired.ref.namespace not in self.where:
            return desired
        return type(self).rewrite(replace(desired, entries={**desired.entries, **self.more}))


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> OperatorHarness:
    monkeypatch.setattr(StoreWithPolicy, "more", {})
    harness = OperatorHarness()
    harness.store.__class__ = StoreWithPolicy
    return harness


def retry(harness: OperatorHarness, times: int = 8) -> None:
    """Reconcile all objects so many times, 15 s apart."""
    for _ in range(times):
        harness.clock.advance(seconds=15)
        harness.reconcile_all()


def test_a_client_is_ready_although_a_policy_adds_an_entry_which_is_not_written_again(harness: OperatorHarness) -> None:
    StoreWithPolicy.more = {"injected": b"x"}
    key = harness.apply(*WORKER)
    harness.reconcile_all()
    harness.reconcile_all()
    assert harness.condition(key) == "True Provisioned"
    assert harness.condition(key, "SecretAltered") == "True AlteredOnWrite"
    [condition] = [c for c in harness.status(key)["conditions"] if c["type"] == "SecretAltered"]
    assert "entry injected was added" in condition["message"]
    before = len(harness.store.writes)
    retry(harness)
    assert len(harness.store.writes) == before
    assert [event.reason for event in harness.events].count("AlteredOnWrite") == 1
    assert [event.reason for event in harness.events].count("CredentialIssued") == 1


@pytest.mark.parametrize("rotate", ["by hand", "by age"])
def test_a_rotation_reaches_the_secret_although_a_policy_adds_an_entry(harness: OperatorHarness, rotate: str) -> None:
    """The added entry does no harm, and a leaked credential must be replaced."""
    StoreWithPolicy.more = {"injected": b"x"}
    rotation = {"rotation": {"every": "24h", "overlap": "1h"}}
    key = harness.apply(*WORKER, rotation)
    harness.reconcile_all()
    retry(harness)
    value = harness.client_secret()
    if rotate == "by hand":
        harness.apply(*WORKER, rotation, rotate="leaked")
    else:
        harness.clock.advance(hours=24)
    retry(harness, 2)
    assert harness.client_secret() != value
    assert harness.condition(key, "RotationFailing") == ""
    assert harness.condition(key, "SecretAltered") == "True AlteredOnWrite"
    assert [event.reason for event in harness.events].count("CredentialRotated") == 1
    before = len(harness.store.writes)
    retry(harness)
    assert len(harness.store.writes) == before


def _label(desired: Desired) -> Desired:
    return replace(desired, labels={**desired.labels, "team": "platform"})


def _manager(desired: Desired) -> Desired:
    return replace(desired, labels={**desired.labels, MANAGED_BY: "platform"})


def _annotation(desired: Desired) -> Desired:
    kept = {name: value for name, value in desired.annotations.items() if not name.endswith("/issue-time")}
    return replace(desired, annotations=kept)


def _annotations(desired: Desired) -> Desired:
    return replace(desired, annotations={})


def _entry(desired: Desired) -> Desired:
    return replace(desired, entries={**desired.entries, "token_endpoint": b"https://internal"})


@pytest.mark.parametrize("rewrite", [_label, _manager, _annotation, _annotations, _entry])
@pytest.mark.parametrize("how", ["by age", "by hand", "by revokedBefore"])
def test_a_rotation_reaches_the_secret_and_issue_times_stay_although_a_policy_rewrites_metadata(
    harness: OperatorHarness, monkeypatch: pytest.MonkeyPatch, rewrite: Callable[[Desired], Desired], how: str
) -> None:
    monkeypatch.setattr(StoreWithPolicy, "rewrite", staticmethod(rewrite))
    # The checks of the harness read the issue time from the annotation that the policy removes.
    monkeypatch.setattr(harness.store, "after_write", lambda: None)
    rotation: dict[str, Any] = {"every": "24h", "overlap": "1h"}
    spec = {"rotation": rotation, "credentials": {"secretTemplate": {"labels": {"team": "hr"}}}}
    key = harness.apply(*WORKER, spec)
    retry(harness)
    before = credentials(harness)
    assert list(before) == [digest(harness.client_secret())]
    if how == "by age":
        harness.clock.advance(hours=24)
    elif how == "by hand":
        harness.apply(*WORKER, spec, rotate="leaked")
    else:
        spec["rotation"] = {**rotation, "revokedBefore": harness.clock.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
        harness.apply(*WORKER, spec)
    retry(harness)
    after = credentials(harness)
    assert digest(harness.client_secret()) in after.keys() - before.keys()
    assert all(after[sha256] == before[sha256] for sha256 in after.keys() & before.keys())
    assert bool(after.keys() & before.keys()) == (how != "by revokedBefore")
    assert len(after.keys() - before.keys()) == 1
    assert harness.condition(key, "RotationFailing") == ""
    writes = len(harness.store.writes)
    retry(harness)
    assert len(harness.store.writes) == writes
    assert len([event for event in harness.events if event.reason in ("CredentialRotated", "CredentialRevoked")]) == 1


def test_a_new_label_reaches_the_secret_although_a_policy_rewrites_another(
    harness: OperatorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreWithPolicy, "rewrite", staticmethod(_label))
    for value in ("1", "2"):
        labels = {"team": "hr", "cost": value}
        harness.apply(*WORKER, {"credentials": {"secretTemplate": {"labels": labels}}})
        retry(harness)
        found = harness.store.objects[harness.secret_ref()].existing.labels
        assert (found["cost"], found["team"]) == (value, "platform")
    writes = len(harness.store.writes)
    stored = harness.store.objects[harness.secret_ref()]
    without = {name: value for name, value in stored.existing.labels.items() if name != "team"}
    harness.store.put(replace(stored.existing, labels=without), stored.entries)
    retry(harness)
    assert len(harness.store.writes) == writes, "the policy would rewrite the label again"


def credentials(harness: OperatorHarness) -> dict[str, Any]:
    record = harness.client_record("leave", "worker")
    assert record is not None
    return {c.sha256: c.issue_time for c in record.credentials}


def test_a_credential_that_may_have_been_stored_keeps_its_issue_time(harness: OperatorHarness) -> None:
    """The answer to the first write was lost, so Pods may have read the credential."""
    lost = Unavailable("no answer", reason="Timeout")
    harness.store.refuse("Secret leave/", lost)
    harness.apply(*WORKER)
    harness.reconcile_all()
    before = credentials(harness)
    harness.clock.advance(hours=2)
    harness.store.stop_refusing()
    retry(harness, 2)
    assert credentials(harness) == before
    assert list(before) == [digest(harness.client_secret())]


def test_a_client_is_provisioned_although_a_policy_adds_to_its_record(
    harness: OperatorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreWithPolicy, "where", (NAMESPACE,))
    StoreWithPolicy.more = {"injected": b"x"}
    key = harness.apply(*WORKER)
    harness.reconcile_all()
    retry(harness)
    assert harness.condition(key) == "True Provisioned"
    before = len(harness.store.writes)
    retry(harness)
    assert len(harness.store.writes) == before


def test_a_record_to_which_a_policy_adds_is_still_disabled(
    harness: OperatorHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreWithPolicy, "where", (NAMESPACE,))
    StoreWithPolicy.more = {"injected": b"x"}
    harness.apply(*WORKER)
    harness.reconcile_all()
    retry(harness)
    before = len(harness.store.writes)
    retry(harness)
    assert len(harness.store.writes) == before
    harness.apply(*WORKER, {"disabled": True})
    retry(harness, 2)
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert record.disabled


def test_the_condition_and_the_added_entry_end_with_the_policy(harness: OperatorHarness) -> None:
    StoreWithPolicy.more = {"injected": b"x"}
    key = harness.apply(*WORKER)
    harness.reconcile_all()
    value = harness.client_secret()
    StoreWithPolicy.more = {}
    retry(harness, 2)
    assert harness.condition(key, "SecretAltered") == ""
    assert "injected" not in harness.store.objects[harness.secret_ref()].entries
    assert harness.client_secret() == value, "the credential has changed"


def test_a_client_whose_credential_a_policy_changes_is_not_ready_and_its_record_has_one_credential(
    harness: OperatorHarness,
) -> None:
    StoreWithPolicy.more = {"client_secret": b"changed-by-a-policy"}
    key = harness.apply(*WORKER)
    harness.reconcile_all()
    retry(harness)
    assert harness.condition(key) == "False AlteredOnWrite"
    assert harness.condition(key, "Stalled") == "True AlteredOnWrite"
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert len(record.credentials) == 1
    StoreWithPolicy.more = {}
    retry(harness, 2)
    assert harness.condition(key) == "True Provisioned"


def test_a_client_of_which_a_policy_changes_another_entry_is_not_ready(harness: OperatorHarness) -> None:
    StoreWithPolicy.more = {"token_endpoint": b"https://elsewhere.example"}
    key = harness.apply(*WORKER)
    harness.reconcile_all()
    assert harness.condition(key) == "False AlteredOnWrite"


def existing(**more: Any) -> Existing:
    return Existing(OperatorHarness().secret_ref(), "uid", "1", "t", {}, {}, (), {"a": digest("other")}, **more)


def test_a_controller_that_undoes_each_write_is_reported_after_some_repeats() -> None:
    now = OperatorHarness().clock.now
    alterations = AlteredWrites(lambda: now)
    write = Desired(OperatorHarness().secret_ref(), {"a": b"a"}, type="t", replaces=existing(managers=("replicator",)))
    assert [alterations.after_write(write) for _ in range(MAX_REPEATS - 1)] == [None] * (MAX_REPEATS - 1)
    undone = alterations.after_write(write)
    assert undone is not None
    assert "changed by replicator after each write: entry a was changed" in undone.message
    now += REPEAT_WINDOW
    assert alterations.after_write(write) is None
    assert alterations.after_write(replace(write, entries={"a": PreservedEntry("a", digest("new"))})) is None


def test_altered_writes_are_remembered_for_a_bounded_number_of_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(altered_writes, "MAX_REMEMBERED", 3)
    known = AlteredWrites(lambda: OperatorHarness().clock.now)
    refs = [Ref("Secret", "leave", f"n{n}") for n in range(5)]
    for ref in refs:
        known.at_write(Desired(ref, {"a": b"a"}, type="t"), replace(existing(), ref=ref))
    assert [known.expected(ref) for ref in refs] == [False, False, True, True, True]


def test_first_writes_and_changed_contents_are_not_reported_as_undone() -> None:
    alterations = AlteredWrites(lambda: OperatorHarness().clock.now)
    for n in range(20):
        assert alterations.after_write(Desired(OperatorHarness().secret_ref(), {"a": b"a"}, type="t")) is None
        assert (
            alterations.after_write(Desired(OperatorHarness().secret_ref(), {"a": b"%d" % n}, replaces=existing()))
            is None
        )
