"""A record that is kept though its object is gone: refused at once, and as it was before when the object is back."""

import pytest

from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.core.orphans import MIN_ORPHANS, decide_orphans, limit
from scopewright.core.records import ENTRY, client_record_name, resource_server_record_name
from scopewright.issuer.state.entries import build_client, build_server
from tests.unit.controller.house import NAMESPACE, House, drive

WORKER = Ref("OAuthClient", "leave", "worker")
API = Ref("ResourceServer", "leave", "api")
RECORD = Ref("Secret", NAMESPACE, client_record_name("leave", "worker"))
SERVER_RECORD = Ref("ConfigMap", NAMESPACE, resource_server_record_name("leave", "api"))


@pytest.fixture
def house() -> House:
    house = House()
    house.apply("SigningKey", NAMESPACE, "default")
    house.apply("ResourceServer", "leave", "api", {"scopes": [{"name": "read"}]})
    house.apply("OAuthClient", "leave", "worker")
    house.settle()
    return house


def loses(house: House, ref: Ref) -> None:
    """The object is gone, with too many others of its namespace; the comparison has just found that."""
    house.store.remove(ref, collect=False)
    house.look()
    house.departed.discard(ref)
    house.world.deleted.discard(ref)
    house.world.withheld.add(ref)


def test_a_client_whose_record_is_kept_is_refused_and_keeps_its_credential(house: House) -> None:
    before = house.client_record("leave", "worker")
    loses(house, WORKER)
    drive(house.reconciler.reconcile(WORKER))
    record = house.client_record("leave", "worker")
    assert before
    assert record
    assert record.orphaned_time
    assert record.credentials == before.credentials
    assert build_client(record, "1").disabled
    written = len(house.store.writes)
    drive(house.reconciler.reconcile(WORKER))
    assert len(house.store.writes) == written, "once is enough"


def test_a_resource_server_whose_record_is_kept_is_not_served(house: House) -> None:
    loses(house, API)
    drive(house.reconciler.reconcile(API))
    record = house.server_record("leave", "api")
    assert record
    assert record.audience, "it comes back as it was"
    assert not build_server("name", record, None).audience


def test_nobody_is_refused_from_ignorance(house: House) -> None:
    before = house.client_record("leave", "worker")
    loses(house, WORKER)
    house.store.unknown.add(WORKER)
    with pytest.raises(Unavailable):
        drive(house.reconciler.reconcile(WORKER))
    assert house.client_record("leave", "worker") == before


@pytest.mark.parametrize("paused", ["false", "true"])
def test_an_object_that_is_there_after_all_has_its_record_as_it_was(house: House, paused: str) -> None:
    """As after a restore of etcd. Whoever has paused it gets it back as well, and nothing is rotated."""
    house.apply("OAuthClient", "leave", "worker", paused=paused)
    house.settle()
    declared, before, value = house.store.declared[WORKER], house.store.entry(RECORD, ENTRY), house.value()
    loses(house, WORKER)
    drive(house.reconciler.reconcile(WORKER))
    assert house.store.entry(RECORD, ENTRY) != before
    house.store.load_declared({**declared, "metadata": {**declared["metadata"], "resourceVersion": "9999"}})
    house.settle()
    assert house.store.entry(RECORD, ENTRY) == before
    assert house.value() == value
    assert WORKER not in house.world.withheld


def test_a_live_read_that_finds_the_object_takes_the_mark_away(house: House) -> None:
    declared, before = house.store.declared[WORKER], house.store.entry(RECORD, ENTRY)
    loses(house, WORKER)
    drive(house.reconciler.reconcile(WORKER))
    house.store.load_declared(declared)
    drive(house.reconciler.reconcile(WORKER))
    assert house.store.entry(RECORD, ENTRY) == before
    assert WORKER not in house.world.withheld


def test_a_successor_inherits_nothing_of_a_record_that_was_kept(house: House) -> None:
    before = house.client_record("leave", "worker")
    loses(house, WORKER)
    drive(house.reconciler.reconcile(WORKER))
    house.store.objects.pop(house.secret())
    house.apply("OAuthClient", "leave", "worker")
    house.settle()
    record = house.client_record("leave", "worker")
    assert before
    assert record
    assert record.uid != before.uid
    assert record.orphaned_time is None
    assert not {c.sha256 for c in record.credentials} & {c.sha256 for c in before.credentials}


def test_what_is_allowed_to_go_goes(house: House) -> None:
    loses(house, WORKER)
    drive(house.reconciler.reconcile(WORKER))
    house.world.withheld.discard(WORKER)
    house.world.deleted.add(WORKER)
    drive(house.reconciler.reconcile(WORKER))
    assert house.client_record("leave", "worker") is None


def test_the_absence_of_a_namespace_is_proof_for_all_that_was_in_it(house: House) -> None:
    """No object is read one by one: three thousand clients of a namespace that is gone go as fast as they can."""
    house.store.remove(WORKER, collect=False)
    house.look()
    house.store.unknown.add(WORKER)
    house.world.absent_namespaces = {"leave"}
    drive(house.reconciler.reconcile(WORKER))
    assert house.client_record("leave", "worker") is None
    assert house.store.objects.get(RECORD) is None
    assert SERVER_RECORD in house.store.objects, "it has its object"


def test_how_many_may_go_at_once() -> None:
    assert [limit(n) for n in (0, 30, 400, 1000)] == [MIN_ORPHANS, MIN_ORPHANS, 20, 50]
    some = {Ref("OAuthClient", "leave", f"c{n}") for n in range(50)}
    assert decide_orphans(some, {"leave": 1000}).deletable == some
    assert decide_orphans(some, {"leave": 999}).held == some
    assert decide_orphans(some, {"leave": 50}, deleted_namespaces={"leave"}).deletable == some


@pytest.mark.parametrize("ref", [WORKER, API])
def test_without_its_crd_an_object_without_a_record_is_given_none(house: House, ref: Ref) -> None:
    """It may have gone, and its record with it, before the CRD went: only this process has missed that."""
    record = RECORD if ref == WORKER else SERVER_RECORD
    house.world.cannot_be_listed(ref.kind)
    house.store.objects.pop(record)
    house.world.drop_owned(record)
    drive(house.reconciler.reconcile(ref))
    assert record not in house.store.objects
    assert house.world.listed(ref.kind, "1") == {ref}, "the CRD is back: it is looked at again"
    drive(house.reconciler.reconcile(ref))
    assert record in house.store.objects


def test_without_its_crd_what_has_a_record_is_looked_after(house: House) -> None:
    house.world.cannot_be_listed("OAuthClient")
    secret = house.store.objects.pop(house.secret())
    house.world.drop_owned(secret.existing.ref)
    drive(house.reconciler.reconcile(WORKER))
    assert house.secret() in house.store.objects
