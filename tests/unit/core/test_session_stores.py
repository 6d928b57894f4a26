"""Two session stores in use at once are found, and none of what only looks like it is."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.written_by_issuers import (
    MAX_REPORT_TIME,
    MAX_SESSION_STORES,
    SessionStoreReport,
    SessionStoreReports,
    UsageRecord,
    usage_key,
)
from scopewright.core.session_stores import SILENT_ROUNDS, KnownStores, apart_until, store_key

SINCE = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE, TWO, THREE = map(store_key, ("one", "two", "three"))


@dataclass
class Replica:
    """An issuer process. Its clock is wrong by `skew` seconds."""

    cluster: "Cluster"
    store: list[str]
    """The id of its store, in a list that replicas with the same store share."""
    skew: int = 0
    known: KnownStores = field(default_factory=lambda: KnownStores(""))
    read: SessionStoreReports = field(default_factory=dict)
    """The reports as it has read them last."""
    asked: str = ""
    """The id of its store, if it has asked for it and not reported since."""

    @property
    def refuses(self) -> bool:
        return self.known.apart

    def look(self, *, is_round: bool = False) -> None:
        """All that an issuer does at one time: read the record, ask the store for its id, write."""
        self.read_record()
        self.report(is_round=is_round)

    def read_record(self) -> None:
        self.read = dict(self.cluster.stores)

    def ask(self) -> None:
        self.read_record()
        self.asked = self.store[0]

    def report(self, *, is_round: bool = False) -> None:
        """The store may have been emptied, and other issuers may have written, since it asked."""
        own = store_key(self.asked or self.store[0])
        self.asked = ""
        if own != self.known.own:
            self.known = self.known.moved_to(own)
        stores = self.cluster.stores
        self.known = self.known.seen(stores, is_round=is_round)
        now = self.cluster.now + self.skew
        written = self.known.update(stores, now, self.read.keys(), is_round=is_round)
        if written is not None:
            self.cluster.writes += 1
            self.cluster.stores = stores = written
        self.known = self.known.seen(stores).reported(stores)


@dataclass
class Cluster:
    """The usage record, and the replicas that follow it."""

    stores: SessionStoreReports = field(default_factory=dict)
    replicas: list[Replica] = field(default_factory=list)
    writes: int = 0
    now: int = 1_800_000_000

    def start(self, store: list[str], skew: int = 0) -> Replica:
        started = Replica(self, store, skew)
        self.replicas.append(started)
        self.follow()
        return started

    def crash(self, replica: Replica) -> None:
        self.replicas.remove(replica)

    def stop(self, replica: Replica) -> None:
        """At an orderly end, as `SessionStoreGuard.finish`."""
        self.crash(replica)
        if replica.known.others(self.stores):
            self.stores = {key: report for key, report in self.stores.items() if key != replica.known.own}
        self.follow()

    def follow(self) -> None:
        """Until no change of the record leads to another one."""
        for _ in range(50):
            before = self.stores
            for replica in self.replicas:
                replica.look()
            if self.stores == before:
                return
        raise AssertionError("writes without end")

    def rounds(self, count: int) -> None:
        for _ in range(count):
            self.now += 15
            for replica in self.replicas:
                replica.look(is_round=True)
                self.follow()

    @property
    def refusing(self) -> list[bool]:
        return [replica.refuses for replica in self.replicas]

    def shown(self) -> bool:
        """Whether the operator shows it."""
        until = apart_until(self.stores)
        return until is not None and until.timestamp() > self.now


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_replicas_that_share_a_store_have_one_report_and_write_nothing_more(cluster: Cluster) -> None:
    store = ["one"]
    for _ in range(40):
        cluster.start(store)
    cluster.rounds(10)
    assert (list(cluster.stores), cluster.writes) == ([ONE], 1)
    assert not any(cluster.refusing)


@pytest.mark.parametrize("skew", [-7200, 0, 7200])
def test_replicas_with_two_stores_refuse_at_once_and_as_long_as_both_run(cluster: Cluster, skew: int) -> None:
    cluster.start(["one"])
    cluster.start(["two"], skew)
    assert cluster.refusing == [True, True]
    for _ in range(60):
        cluster.rounds(1)
        assert cluster.refusing == [True, True]
    if not skew:
        assert cluster.shown()


def test_a_replica_that_stops_in_order_ends_the_refusal_at_once(cluster: Cluster) -> None:
    cluster.start(["one"])
    cluster.stop(cluster.start(["two"]))
    assert cluster.refusing == [False]
    assert not cluster.shown()
    assert cluster.stores[ONE].others == {}


def test_a_replica_that_crashes_ends_the_refusal_after_some_rounds(cluster: Cluster) -> None:
    cluster.start(["one"])
    cluster.crash(cluster.start(["two"]))
    cluster.rounds(SILENT_ROUNDS - 1)
    assert cluster.refusing == [True], "a late report must not end it"
    cluster.rounds(3)
    assert cluster.refusing == [False]
    assert list(cluster.stores) == [ONE]


@pytest.mark.parametrize("skew", [-7200, 0, 7200])
def test_the_successor_of_a_pod_that_crashed_never_refuses(cluster: Cluster, skew: int) -> None:
    """As by Recreate with an emptyDir: another store, and the report of the former one is left behind."""
    for number in range(3):
        replica = cluster.start([f"store {number}"], skew)
        for _ in range(2 * SILENT_ROUNDS):
            assert not replica.refuses
            assert not cluster.shown()
            cluster.rounds(1)
        assert list(cluster.stores) == [replica.known.own], "it has removed the other one"
        cluster.crash(replica)


def test_successors_with_the_same_files_do_not_believe_what_was_reported_before(cluster: Cluster) -> None:
    """Both crashed while they refused; only one comes back."""
    cluster.start(["one"])
    cluster.start(["two"])
    cluster.replicas.clear()
    cluster.now += 100
    replica = cluster.start(["one"])
    for _ in range(2 * SILENT_ROUNDS):
        assert not replica.refuses
        cluster.rounds(1)
    assert list(cluster.stores) == [ONE]


def test_both_successors_with_the_same_files_refuse(cluster: Cluster) -> None:
    stores = ["one"], ["two"]
    for store in stores:
        cluster.start(store)
    cluster.replicas.clear()
    for store in stores:
        cluster.start(store)
    cluster.rounds(2)
    assert cluster.refusing == [True, True]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_shared_store_that_is_emptied_is_no_other_store(cluster: Cluster, order: tuple[int, ...]) -> None:
    """Replicas find the new id in any order, and one of them is about to report the former one."""
    store = ["one"]
    replicas = [cluster.start(store) for _ in range(3)]
    replicas[order[2]].ask()
    store[0] = "two"
    for number in order[:2]:
        replicas[number].look()
        assert not any(cluster.refusing)
    replicas[order[2]].report()
    for number in order[:2]:
        replicas[number].look()
        assert not any(cluster.refusing)
    for _ in range(3):
        assert not any(cluster.refusing)
        assert not cluster.shown()
        cluster.rounds(1)
    assert list(cluster.stores) == [TWO]


def test_a_store_that_is_replaced_by_the_other_one_ends_the_refusal(cluster: Cluster) -> None:
    shared, own = ["one"], ["two"]
    cluster.start(shared)
    cluster.start(own)
    own[0] = "one"
    cluster.follow()
    assert cluster.refusing == [False, False]
    assert list(cluster.stores) == [ONE]


def test_an_earlier_version_that_drops_the_reports_does_not_end_the_refusal_for_long(cluster: Cluster) -> None:
    cluster.start(["one"])
    cluster.start(["two"])
    cluster.stores = {}
    cluster.follow()
    assert cluster.refusing == [True, True]


def test_reports_without_an_answer_are_no_reason_to_refuse(cluster: Cluster) -> None:
    """Also such as claim to have seen this store at some time, and any number of them."""
    cluster.stores = {
        f"{n:016x}": SessionStoreReport(cluster.now, {ONE: cluster.now - n}) for n in range(MAX_SESSION_STORES)
    }
    replica = cluster.start(["one"])
    for _ in range(2 * SILENT_ROUNDS):
        assert not replica.refuses
        assert len(cluster.stores) <= MAX_SESSION_STORES
        cluster.rounds(1)
    assert list(cluster.stores) == [ONE]


def test_more_replicas_than_the_record_holds_refuse_and_write_once_a_round(cluster: Cluster) -> None:
    count = 2 * MAX_SESSION_STORES
    for number in range(count):
        cluster.start([f"store {number}"])
    cluster.rounds(3)
    assert all(cluster.refusing)
    before = cluster.writes
    cluster.rounds(10)
    assert all(cluster.refusing)
    assert len(cluster.stores) == MAX_SESSION_STORES
    assert cluster.writes - before <= 10 * count
    assert len(encode(UsageRecord(SINCE, session_stores=cluster.stores))) < 12_000


def actions() -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(["start", "crash", "stop", "empty", "ask", "report", "round", "drop"]), max_size=40)


@given(actions(), st.randoms(use_true_random=False))
def test_replicas_that_share_a_store_never_refuse(steps: list[str], chance: Random) -> None:
    """Whatever crashes, restarts, is emptied or is late."""
    cluster, store, ids = Cluster(), ["store"], itertools.count()
    for step in steps:
        _do(step, cluster, store, ids, chance)
        assert not any(cluster.refusing)


def _do(step: str, cluster: Cluster, store: list[str], ids: Iterator[int], chance: Random) -> None:
    cluster.now += 1
    if step == "start":
        cluster.replicas.append(Replica(cluster, store, chance.choice([-7200, 0, 7200])))
    elif step == "empty":
        store[0] = f"store {next(ids)}"
    elif step == "drop":
        cluster.stores = {}
    elif cluster.replicas:
        replica = chance.choice(cluster.replicas)
        does: dict[str, Callable[[], None]] = {
            "crash": lambda: cluster.crash(replica),
            "stop": lambda: cluster.stop(replica),
            "ask": replica.ask,
            "report": replica.report,
            "round": lambda: replica.look(is_round=True),
        }
        does[step]()


@given(actions(), st.randoms(use_true_random=False))
def test_replicas_with_two_stores_refuse_in_the_end(steps: list[str], chance: Random) -> None:
    cluster, stores, ids = Cluster(), (["one"], ["two"]), itertools.count()
    for step in steps:
        _do(step, cluster, chance.choice(stores), ids, chance)
    cluster.replicas.clear()
    for store in stores:
        cluster.start(store)
    cluster.rounds(2)
    assert cluster.refusing == [True, True]


def test_a_report_that_is_malformed_costs_neither_usage_nor_the_record() -> None:
    good = {"reported": 5, "others": {TWO: 4}, "later": True}
    malformed: list[Any] = [
        {"x": good}, {ONE: 5}, {ONE: {}}, {ONE: {"reported": -1}}, {ONE: {"reported": MAX_REPORT_TIME + 1}},
        [], "x", None, 7,
        {ONE: {"reported": 5, "others": {"x": 1}}}, {f"{n:016x}": good for n in range(500)},
    ]  # fmt: skip
    for stores in malformed:
        text = {"since": "2026-11-22T12:00:00Z", "used": {"a": 1}, "sessionStores": stores}
        assert decode(UsageRecord, json.dumps(text).encode()) == UsageRecord(SINCE, {"a": 1})
    text = {"since": "2026-11-22T12:00:00Z", "sessionStores": {ONE: good}}
    assert decode(UsageRecord, json.dumps(text).encode()).session_stores == {ONE: SessionStoreReport(5, {TWO: 4})}


def test_the_last_times_of_reports_are_instants_and_lead_to_no_malformed_record(cluster: Cluster) -> None:
    last = MAX_REPORT_TIME
    named = {ONE: SessionStoreReport(last, {TWO: last}), TWO: SessionStoreReport(last, {ONE: last})}
    assert apart_until(named) is not None
    cluster.stores = {ONE: named[ONE]}
    replica = cluster.start(["one"])
    cluster.start(["two"])
    cluster.rounds(2 * SILENT_ROUNDS)
    record = UsageRecord(SINCE, session_stores=cluster.stores)
    assert decode(UsageRecord, encode(record)).session_stores == cluster.stores != {}
    assert replica.known.since == last


def test_a_use_at_a_time_that_no_datetime_has_costs_no_record() -> None:
    client = ClientRecord("leave", "worker", "uid")
    for minutes in (10**12, 10**30, -(10**12)):
        assert UsageRecord(SINCE, {usage_key(client.identity): minutes}).of(client).keys() == {client.identity}


def test_a_record_without_reports_is_as_before() -> None:
    assert encode(UsageRecord(SINCE)) == b'{"since":"2026-11-22T12:00:00Z","used":{},"version":1}'


def test_two_stores_count_as_in_use_while_each_is_named_by_the_other() -> None:
    named = {ONE: SessionStoreReport(1000, {TWO: 990}), TWO: SessionStoreReport(1010, {ONE: 1000})}
    assert apart_until(named) == datetime.fromtimestamp(1600, UTC)
    assert apart_until(named | {ONE: SessionStoreReport(1000)}) is None
    assert apart_until({ONE: named[ONE]}) is None
    assert apart_until({}) is None
