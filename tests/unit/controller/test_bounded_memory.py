"""The memory of operator and issuers for the metadata of an object is bounded, whatever a tenant writes into it."""

from datetime import datetime
from typing import Any

import pytest

from scopewright.core.client.truncate import MAX_ENTRIES, MAX_OWNERS
from scopewright.core.declared import parse_watched
from scopewright.core.objects import CLIENT_LABEL, MANAGED_BY, MANAGER, Existing, Ref, digest
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.codec import decode, encode
from scopewright.stores.kubernetes.objects import parse
from tests.harness.clock import START
from tests.harness.operator import OperatorHarness
from tests.harness.samples import NAMESPACE

WORKER = ("OAuthClient", "leave", "worker")
LONG = "x" * 250_000


@pytest.fixture
def harness() -> OperatorHarness:
    return OperatorHarness()


def test_a_long_rotate_value_rotates_once_and_is_recorded_as_its_digest(harness: OperatorHarness) -> None:
    key = harness.apply(*WORKER, rotate=LONG + "1")
    harness.settle()
    first = harness.client_secret()
    harness.apply(*WORKER, rotate=LONG + "2")
    harness.settle()
    second = harness.client_secret()
    assert second != first
    harness.restart()
    harness.settle()
    assert harness.client_secret() == second
    record = harness.client_record("leave", "worker")
    assert record
    assert record.credentials[-1].rotate == digest(LONG + "2")
    stored = harness.store.objects[Ref("Secret", NAMESPACE, "client.leave.worker")]
    assert sum(map(len, stored.entries.values())) < 5_000
    assert harness.condition(key) == "True Provisioned"


def test_a_short_rotate_value_stays_as_it_is(harness: OperatorHarness) -> None:
    harness.apply(*WORKER, rotate="y" * 64)
    harness.settle()
    record = harness.client_record("leave", "worker")
    assert record
    assert record.credentials[-1].rotate == "y" * 64


def test_a_long_rotate_value_of_a_signing_key_is_recorded_as_its_digest(harness: OperatorHarness) -> None:
    harness.apply("SigningKey", NAMESPACE, "default", rotate=LONG)
    harness.settle()
    assert [record.rotate for record in harness.key_records()] == [digest(LONG)]


def test_a_long_value_that_an_earlier_version_recorded_reads_as_its_digest() -> None:
    credential = Credential("0" * 64, START, rotate=LONG)
    record = ClientRecord("leave", "worker", "uid", credentials=(credential,))
    assert decode(ClientRecord, encode(record)).credentials[0].rotate == digest(LONG)


def watched(**meta: Any) -> Any:
    meta = {"namespace": "leave", "name": "worker", "uid": "u", "resourceVersion": "1", **meta}
    return parse_watched({"kind": "OAuthClient", "metadata": meta, "spec": {}}).metadata


def test_the_cache_keeps_only_annotations_that_the_operator_reads() -> None:
    found = watched(annotations={"scopewright.dev/junk": LONG, "scopewright.dev/rotate": LONG})
    assert found.annotations == {"scopewright.dev/rotate": digest(LONG)}
    assert watched(annotations={"scopewright.dev/paused": "true" + LONG}).annotations == {}


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:01Z", "soon", None, 7])
def test_an_object_can_be_read_whatever_time_a_client_writes_into_managed_fields(time: object) -> None:
    managed = [{"manager": "evil", "time": time}, {"manager": "kubectl", "time": "2026-11-22T13:00:00Z"}]
    assert watched(managedFields=managed).applied_time == datetime.fromisoformat("2026-11-22T13:00:00Z")
    assert watched(managedFields=managed[:1]).applied_time is None


def test_the_cache_keeps_the_number_of_finalizers_that_it_drops(harness: OperatorHarness) -> None:
    finalizers = [f"f.example/{number}" for number in range(10_000)]
    assert sum(map(len, watched(finalizers=finalizers).finalizers)) < 100
    key = harness.apply(*WORKER)
    harness.settle()
    raw = harness.store.declared[key]
    meta = {**raw["metadata"], "deletionTimestamp": "2026-11-22T12:00:00Z", "finalizers": finalizers}
    meta["resourceVersion"] = str(int(meta["resourceVersion"]) + 1_000)
    harness.cache.put(parse_watched({**raw, "metadata": meta}))
    found = harness.cache.declared["OAuthClient"][key]
    assert found.metadata.more_finalizers == 10_000 - len(found.metadata.finalizers)


def secret(type_: str, **more: Any) -> Existing:
    raw = {
        "metadata": {
            "namespace": "evil", "name": "s", "uid": "u", "resourceVersion": "1",
            "creationTimestamp": "2026-11-28T00:00:00Z",
            "labels": {MANAGED_BY: MANAGER, CLIENT_LABEL: "worker", **{f"l{n}": "v" for n in range(5_000)}},
            "annotations": {"note": LONG, "scopewright.dev/seal": LONG, **more},
            "ownerReferences": [{"uid": f"{n}-{LONG[:1000]}"} for n in range(1_000)],
        },
        "type": type_,
        "data": {**{f"a{n}": "" for n in range(3_000)}, "client_secret": "c2VjcmV0"},
    }  # fmt: skip
    return parse("Secret", raw)[0]


def size(existing: Existing) -> int:
    texts = [*existing.owner_uids, *existing.managers]
    for mapping in (existing.labels, existing.annotations, existing.entries):
        texts += [*mapping.keys(), *mapping.values()]
    return sum(map(len, texts))


def test_the_cache_keeps_little_of_a_labelled_secret_of_another_type(harness: OperatorHarness) -> None:
    harness.cache.put_managed(secret("Opaque"), {})
    kept = harness.cache.managed.objects[Ref("Secret", "evil", "s")]
    assert (kept.type, kept.entries, kept.annotations) == ("Opaque", {}, {})
    assert kept.labels == {MANAGED_BY: MANAGER}
    assert size(kept) < 5_000


def test_the_cache_keeps_the_credential_and_few_other_entries_of_a_large_secret(
    harness: OperatorHarness,
) -> None:
    listed = '{"annotations":["note"],"labels":["l1"]}'
    harness.cache.put_managed(secret("servicebinding.io/oauth2", **{"scopewright.dev/template": listed}), {})
    kept = harness.cache.managed.objects[Ref("Secret", "evil", "s")]
    assert kept.entries["client_secret"] == digest("secret")
    assert (len(kept.entries), len(kept.owner_uids)) == (MAX_ENTRIES, MAX_OWNERS)
    assert {MANAGED_BY: MANAGER, CLIENT_LABEL: "worker", "l1": "v"}.items() <= kept.labels.items()
    assert len(kept.annotations["note"]) > 1024
    assert size(kept) < 40_000


@pytest.mark.parametrize(
    "listed", ["[" * 30_000, '{"labels":' * 3_000, "[]", "NaN", '{"labels": 7, "annotations": [null]}', "\ud800"]
)
def test_a_secret_whose_list_of_template_keys_is_malformed_is_kept_like_one_without(
    harness: OperatorHarness, listed: str
) -> None:
    harness.cache.put_managed(secret("servicebinding.io/oauth2", **{"scopewright.dev/template": listed}), {})
    kept = harness.cache.managed.objects[Ref("Secret", "evil", "s")]
    assert kept.entries["client_secret"] == digest("secret")
    assert size(kept) < 60_000


@pytest.mark.parametrize("count", [1, 3_000])
def test_added_entries_are_removed_and_the_credential_stays(harness: OperatorHarness, count: int) -> None:
    key = harness.apply(*WORKER)
    harness.settle()
    before = harness.client_secret()
    harness.store.edit(harness.secret_ref(), **{f"a{number}": b"" for number in range(count)})
    harness.resync()
    harness.settle()
    assert (harness.client_secret(), harness.condition(key)) == (before, "True Provisioned")
    assert not [name for name in harness.store.objects[harness.secret_ref()].entries if name.startswith("a0")]


def test_a_changed_template_changes_the_labels_and_annotations_of_the_secret(harness: OperatorHarness) -> None:
    template = {"annotations": {f"k{n}": "v" * 1024 for n in range(64)}, "labels": {"team": "hr"}}
    harness.apply(*WORKER, {"credentials": {"secretTemplate": template}})
    harness.settle()
    harness.apply(*WORKER, {"credentials": {"secretTemplate": {"labels": {"team": "it"}}}})
    harness.settle()
    harness.clock.advance(minutes=1)
    existing = harness.store.objects[harness.secret_ref()].existing
    assert existing.labels["team"] == "it"
    assert "k1" not in existing.annotations
