"""Held records: their objects are deleted, the issuer refuses them, and a restored object has its former record."""

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.core.orphans import MIN_ORPHANS, decide_orphans, limit
from scopewright.core.records.names import ENTRY, client_record_name, resource_server_record_name
from scopewright.issuer.state.entries import build_client, build_server
from tests.harness.operator import OperatorHarness, run_sync
from tests.harness.samples import NAMESPACE

WORKER = Ref("OAuthClient", "leave", "worker")
API = Ref("ResourceServer", "leave", "api")
RECORD = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))
SERVER_RECORD = Ref("ConfigMap", NAMESPACE, resource_server_record_name("leave", "api"))


@pytest.fixture
def harness() -> OperatorHarness:
    harness = OperatorHarness()
    harness.apply("SigningKey", NAMESPACE, "default")
    harness.apply("ResourceServer", "leave", "api", {"scopes": [{"name": "read"}]})
    harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    return harness


def lose(harness: OperatorHarness, ref: Ref) -> None:
    """The object is deleted, with too many others of its namespace, as a resync has just found."""
    harness.delete(ref, collect=False)
    harness.resync()
    harness.deleted.discard(ref)
    harness.cache.deleted.discard(ref)
    harness.cache.held_records.add(ref)


def test_a_client_with_a_held_record_is_refused_and_keeps_its_credential(harness: OperatorHarness) -> None:
    before = harness.client_record("leave", "worker")
    lose(harness, WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    record = harness.client_record("leave", "worker")
    assert before
    assert record
    assert record.orphaned_time
    assert record.credentials == before.credentials
    assert build_client(record, "1").disabled
    written = len(harness.store.writes)
    run_sync(harness.reconciler.reconcile(WORKER))
    assert len(harness.store.writes) == written, "the record was written again"


def test_a_resource_server_with_a_held_record_is_not_served(harness: OperatorHarness) -> None:
    lose(harness, API)
    run_sync(harness.reconciler.reconcile(API))
    record = harness.server_record("leave", "api")
    assert record
    assert record.audience, "the record has lost its audience"
    assert not build_server("name", record, None).audience


def test_a_client_is_not_refused_while_its_deletion_is_not_proven(harness: OperatorHarness) -> None:
    before = harness.client_record("leave", "worker")
    lose(harness, WORKER)
    harness.store.unconfirmed.add(WORKER)
    with pytest.raises(Unavailable):
        run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.client_record("leave", "worker") == before


@pytest.mark.parametrize("paused", ["false", "true"])
def test_an_object_that_is_restored_has_its_former_record(harness: OperatorHarness, paused: str) -> None:
    """As after a restore of etcd. This holds for a paused object too, and nothing is rotated."""
    harness.apply("OAuthClient", "leave", "worker", paused=paused)
    harness.settle()
    declared, before, value = (
        harness.store.declared[WORKER],
        harness.store.entry(RECORD, ENTRY),
        harness.client_secret(),
    )
    lose(harness, WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.store.entry(RECORD, ENTRY) != before
    harness.store.load_declared({**declared, "metadata": {**declared["metadata"], "resourceVersion": "9999"}})
    harness.settle()
    assert harness.store.entry(RECORD, ENTRY) == before
    assert harness.client_secret() == value
    assert WORKER not in harness.cache.held_records


def test_a_live_read_that_finds_the_object_restores_its_record(harness: OperatorHarness) -> None:
    declared, before = harness.store.declared[WORKER], harness.store.entry(RECORD, ENTRY)
    lose(harness, WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    harness.store.load_declared(declared)
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.store.entry(RECORD, ENTRY) == before
    assert WORKER not in harness.cache.held_records


def test_a_successor_inherits_nothing_of_a_held_record(harness: OperatorHarness) -> None:
    before = harness.client_record("leave", "worker")
    lose(harness, WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    harness.store.objects.pop(harness.secret_ref())
    harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    record = harness.client_record("leave", "worker")
    assert before
    assert record
    assert record.uid != before.uid
    assert record.orphaned_time is None
    assert not {c.sha256 for c in record.credentials} & {c.sha256 for c in before.credentials}


def test_a_held_record_is_deleted_once_its_deletion_is_allowed(harness: OperatorHarness) -> None:
    lose(harness, WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    harness.cache.held_records.discard(WORKER)
    harness.cache.deleted.add(WORKER)
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.client_record("leave", "worker") is None


def test_the_deletion_of_a_namespace_is_proof_for_all_objects_in_it(harness: OperatorHarness) -> None:
    """Its objects are not read one by one, so that thousands of records are deleted quickly."""
    harness.delete(WORKER, collect=False)
    harness.resync()
    harness.store.unconfirmed.add(WORKER)
    harness.cache.absent_namespaces = {"leave"}
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.client_record("leave", "worker") is None
    assert harness.store.objects.get(RECORD) is None
    assert SERVER_RECORD in harness.store.objects, "the record of an existing object was deleted"


def test_the_number_of_records_that_are_deleted_at_once_is_limited() -> None:
    assert [limit(n) for n in (0, 30, 400, 1000)] == [MIN_ORPHANS, MIN_ORPHANS, 20, 50]
    some = {Ref("OAuthClient", "leave", f"c{n}") for n in range(50)}
    assert decide_orphans(some, {"leave": 1000}).deletable == some
    assert decide_orphans(some, {"leave": 999}).held == some
    assert decide_orphans(some, {"leave": 50}, deleted_namespaces={"leave"}).deletable == some


@pytest.mark.parametrize("ref", [WORKER, API])
def test_without_its_crd_an_object_gets_no_new_record(harness: OperatorHarness, ref: Ref) -> None:
    """The object may have been deleted before its CRD, and its record too, and only this process missed that."""
    record = RECORD if ref == WORKER else SERVER_RECORD
    harness.cache.cannot_be_listed(ref.kind)
    harness.store.objects.pop(record)
    harness.cache.drop_managed(record)
    run_sync(harness.reconciler.reconcile(ref))
    assert record not in harness.store.objects
    assert harness.cache.listed(ref.kind, "1") == {ref}, "the CRD exists again, and the object is queued"
    run_sync(harness.reconciler.reconcile(ref))
    assert record in harness.store.objects


def test_without_its_crd_an_object_with_a_record_is_reconciled(harness: OperatorHarness) -> None:
    harness.cache.cannot_be_listed("OAuthClient")
    secret = harness.store.objects.pop(harness.secret_ref())
    harness.cache.drop_managed(secret.existing.ref)
    run_sync(harness.reconciler.reconcile(WORKER))
    assert harness.secret_ref() in harness.store.objects
