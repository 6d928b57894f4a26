"""Which connections are closed at the limits."""

from dataclasses import dataclass

import pytest

from scopewright.http import ConnectionState, HttpLimits
from scopewright.http.budget import ConnectionBudget, network_of
from scopewright.http.limits import CONNECTION_COST
from scopewright.http.memory import Trimmer


@dataclass(eq=False)
class FakeConnection:
    name: str
    state: ConnectionState = ConnectionState.IDLE
    since: float = 0.0


def filled(budget: ConnectionBudget[FakeConnection], address: str, *lines: FakeConnection) -> None:
    for line in lines:
        assert budget.add(line, address) == ([], None)


def limits(connections: int, **more: float | None) -> HttpLimits:
    return HttpLimits(memory=connections * CONNECTION_COST, **{"connections_per_peer": None, **more})  # type: ignore[arg-type]


def test_memory_limit_bounds_the_connections() -> None:
    assert HttpLimits().most_connections == 8192
    assert HttpLimits(connections=100).most_connections == 100
    assert HttpLimits(memory=1).most_connections == 1


@pytest.mark.parametrize(
    ("states", "first"),
    [
        ([(ConnectionState.IDLE, 2), (ConnectionState.IDLE, 1), (ConnectionState.REQUEST, 0)], 1),
        ([(ConnectionState.IDLE, 2), (ConnectionState.CLOSING, 3), (ConnectionState.PENDING, 0)], 1),
        ([(ConnectionState.UNREAD, 2), (ConnectionState.REQUEST, 1), (ConnectionState.HANDSHAKE, 3)], 1),
        ([(ConnectionState.PENDING, 0), (ConnectionState.HANDSHAKE, 1), (ConnectionState.PENDING, 0)], 1),
    ],
)
def test_longest_idle_connection_is_closed_first_and_pending_ones_are_kept(
    states: list[tuple[ConnectionState, float]], first: int
) -> None:
    budget = ConnectionBudget[FakeConnection](limits(3))
    lines = [FakeConnection(str(n), state, since) for n, (state, since) in enumerate(states)]
    filled(budget, "10.0.0.1", *lines)
    assert budget.add(FakeConnection("new", ConnectionState.REQUEST, 9), "10.0.0.2") == (
        [(lines[first], "process")],
        None,
    )
    assert budget.used == 3 * CONNECTION_COST


def test_new_connection_is_refused_if_all_others_are_pending() -> None:
    budget = ConnectionBudget[FakeConnection](limits(1))
    filled(budget, "10.0.0.1", FakeConnection("busy", ConnectionState.PENDING))
    refused = FakeConnection("refused", ConnectionState.REQUEST)
    assert budget.add(refused, "10.0.0.2") == ([], "process")
    refused.state = ConnectionState.CLOSING
    assert budget.add(FakeConnection("next", ConnectionState.REQUEST), "10.0.0.3") == (
        [(refused, "process")],
        "process",
    )
    assert budget.used == 2 * CONNECTION_COST


def test_address_with_few_connections_keeps_them() -> None:
    budget = ConnectionBudget[FakeConnection](limits(4))
    few = FakeConnection("few", ConnectionState.IDLE, since=0)
    filled(budget, "10.0.0.1", few)
    many = [FakeConnection(str(n), ConnectionState.IDLE, since=1 + n) for n in range(3)]
    filled(budget, "10.0.0.2", *many)
    assert budget.add(FakeConnection("new", ConnectionState.REQUEST, 9), "10.0.0.3")[0] == [(many[0], "process")]
    assert few in budget


def test_address_beyond_its_share_loses_its_own_connections() -> None:
    budget = ConnectionBudget[FakeConnection](limits(8, connections_per_peer=8, share=0.25))
    other = FakeConnection("other", ConnectionState.IDLE, since=0)
    filled(budget, "10.0.0.1", other)
    own = [FakeConnection(str(n), ConnectionState.REQUEST, since=n) for n in range(3)]
    filled(budget, "10.0.0.2", *own[:2])
    assert budget.add(own[2], "10.0.0.2") == ([(own[0], "address")], None)
    assert budget.charge(own[2], CONNECTION_COST) == [(own[1], "address")]
    assert budget.charge(own[2], 9 * CONNECTION_COST) == [(own[2], "address")], "even the connection that is charged"
    assert budget.used == CONNECTION_COST


def test_pending_connection_is_closed_last_at_the_memory_limit() -> None:
    budget = ConnectionBudget[FakeConnection](limits(4))
    busy, reading = (
        FakeConnection("busy", ConnectionState.PENDING, 0),
        FakeConnection("reading", ConnectionState.REQUEST, 5),
    )
    filled(budget, "10.0.0.1", busy, reading)
    assert budget.charge(busy, 3 * CONNECTION_COST) == [(reading, "process")]
    assert budget.charge(busy, 4 * CONNECTION_COST) == [(busy, "process")]
    assert budget.used == 0


def test_removed_connection_is_not_charged() -> None:
    budget = ConnectionBudget[FakeConnection](limits(2))
    line = FakeConnection("a")
    filled(budget, "10.0.0.1", line)
    budget.remove(line)
    budget.remove(line)
    assert budget.charge(line, 10**9) == []
    assert budget.used == 0


def test_flood_closes_one_connection_for_each_new_one() -> None:
    budget = ConnectionBudget[FakeConnection](limits(500, connections_per_peer=100))
    kept = FakeConnection("kept", ConnectionState.IDLE, since=-1)
    filled(budget, "192.0.2.1", kept)
    ended = []
    for n in range(5_000):
        line = FakeConnection(str(n), ConnectionState.IDLE if n % 2 else ConnectionState.REQUEST, since=n)
        ended += budget.add(line, f"10.0.0.{n % 9}")[0]
    assert len(ended) == 5_001 - 500
    assert kept in budget
    assert budget.used == 500 * CONNECTION_COST


def test_flood_beyond_the_share_of_an_address_is_not_admitted() -> None:
    budget = ConnectionBudget[FakeConnection](limits(1_000, connections_per_peer=10))
    for n in range(200):
        if budget.admits("10.0.0.1"):
            budget.add(FakeConnection(str(n), ConnectionState.REQUEST, n), "10.0.0.1")
    assert budget.used == 10 * CONNECTION_COST
    assert not budget.admits("10.0.0.1")
    assert budget.admits("10.0.0.2")
    budget.tick()
    assert budget.admits("10.0.0.1"), "some of its new connections replace its own"


def test_flood_of_handshakes_is_limited_by_the_cost_of_handshakes() -> None:
    handshake = 6 * CONNECTION_COST
    budget = ConnectionBudget[FakeConnection](limits(1_000), new_connection_cost=CONNECTION_COST + handshake)
    ended = 0
    for n in range(9_000):
        line, address = FakeConnection(str(n), ConnectionState.HANDSHAKE, n), f"10.0.0.{n % 9}"
        if budget.admits(address):
            ended += len(budget.add(line, address)[0]) + len(budget.charge(line, handshake))
    assert ended <= 200, "the flood closes connections at the rate of its new ones, whatever each costs"
    assert budget.admits("192.0.2.1")


def test_address_with_few_connections_is_admitted_at_the_memory_limit() -> None:
    budget = ConnectionBudget[FakeConnection](limits(100))
    for n in range(1_000):
        if budget.admits("10.0.0.1"):
            budget.add(FakeConnection(str(n), ConnectionState.IDLE, n), "10.0.0.1")
    assert not budget.admits("10.0.0.1")
    for n in range(37):  # up to three quarters of the average of the two
        assert budget.admits("10.0.0.2")
        assert budget.add(FakeConnection(f"few {n}", ConnectionState.REQUEST, n), "10.0.0.2")[1] is None
    assert budget.used == 100 * CONNECTION_COST


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_ipv6_network_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_free_memory_is_returned_at_intervals() -> None:
    trimmed: list[float] = []
    now = 0.0

    def trim(pad: int) -> int:
        trimmed.append(now)
        return 1

    trimmer = Trimmer(trim)
    for used in (10, 50, 49, 30, 29, 45, 20, 20):
        now += 1.0
        trimmer.update(used * 2**20, now)
    assert trimmed == [4.0], "once 20 MiB below the maximum, and not again within five seconds"
    now += 2.0
    trimmer.update(20 * 2**20, now)
    assert trimmed == [4.0, 10.0]
