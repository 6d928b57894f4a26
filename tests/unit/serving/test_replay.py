"""The replay memory of assertions and proofs is bounded, and each namespace has a share of it."""

from collections import deque
from collections.abc import Iterator
from itertools import cycle
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.exceptions import RedisError

from scopewright.core.failures import Unavailable
from scopewright.serving.replay import LOCAL_CAPACITY, LocalReplay
from scopewright.serving.shared_replay import SharedReplay, _Shares
from scopewright.stores.valkey import TurnPipeline
from tests.harness.clock import Clock
from tests.harness.issuer import IssuerHarness, settle
from tests.unit.issuer.assertions import assertion, present, with_pair

UNTIL = Clock()() + 60


async def fill(memory: LocalReplay, namespace: str, until: float = UNTIL) -> int:
    """Fill the share of a namespace. Returns the number of entries."""
    for count in range(LOCAL_CAPACITY + 1):
        try:
            assert await memory.first_use(f"{namespace}.client-{count % 7}", str(count), until)
        except Unavailable:
            return count
    raise AssertionError("the share has no bound")


async def test_ten_namespaces_cannot_fill_the_replay_memory() -> None:
    clock = Clock()
    memory = LocalReplay(clock)
    taken = [await fill(memory, f"greedy-{number}") for number in range(10)]
    assert sum(taken) < 0.75 * LOCAL_CAPACITY
    assert await fill(memory, "modest") > 3000
    clock.advance(seconds=60)
    assert await fill(memory, "greedy-0", UNTIL + 60) == taken[0], "expired entries make room"


async def test_full_share_of_a_namespace_is_temporary_and_detects_replays() -> None:
    clock = Clock()
    memory = LocalReplay(clock, capacity=20)
    assert [await memory.first_use(f"a.{n}", str(n), UNTIL) for n in range(3)] == [True] * 3
    with pytest.raises(Unavailable, match="too many"):
        await memory.first_use("a.3", "3", UNTIL)
    assert not await memory.first_use("a.1", "1", UNTIL)
    assert await memory.first_use("b.3", "3", UNTIL)
    clock.advance(seconds=60)
    assert await memory.first_use("a.3", "3", UNTIL + 60)


def take(shares: _Shares, namespace: str, count: int) -> None:
    for _ in range(count):
        shares.take(namespace, 600.0, 0.0)


def test_shares_bound_what_one_process_puts_into_a_shared_memory() -> None:
    shares = _Shares(10_000)
    for namespace in range(10):
        with pytest.raises(Unavailable):
            take(shares, f"greedy-{namespace}", 10_000)
    take(shares, "modest", 300)
    shares.take("greedy-0", 1200.0, 661.0)
    assert (shares._used, shares._free) == ({"greedy-0": 1}, 9_999)


async def test_client_of_a_namespace_with_a_full_share_gets_503_and_others_get_tokens() -> None:
    clock = Clock()
    harness = IssuerHarness(clock=clock, replay=LocalReplay(clock, capacity=16))
    harness.install_defaults()
    harness.put(with_pair())
    harness.put(with_pair(namespace="other", name="worker", uid="uid-9"))
    async with harness.running():
        await settle()
        statuses = [(await present(harness, assertion(harness)))[0] for _ in range(6)]
        assert statuses[0] == 200
        assert statuses[-1] == 503
        mine = assertion(harness, iss="other.worker", sub="other.worker")
        status, body = await present(harness, mine)
        assert (status, body["error"]) != (401, "invalid_client"), body
        assert status != 503


class FakeRedis:
    """A fake Redis with its client, pool and connection, for commands `SET name "" NX PX milliseconds`."""

    def __init__(self) -> None:
        self.connection_pool = self
        self.names: set[str] = set()
        self.is_up = True
        self.errors: Iterator[Exception] = cycle([RedisError("no connection"), TimeoutError()])
        self._unanswered: deque[str] = deque()
        self._reader = SimpleNamespace(at_eof=lambda: False)

    async def get_connection(self) -> "FakeRedis":
        return self

    async def release(self, connection: "FakeRedis") -> None: ...

    async def disconnect(self, *, nowait: bool) -> None:
        self._unanswered.clear()

    def pack_commands(self, commands: list[tuple[Any, ...]]) -> list[str]:
        assert all((name, *options[:3]) == ("SET", b"", "NX", "PX") for name, _, *options in commands)
        return [command[1] for command in commands]

    async def send_packed_command(self, names: list[str], *, check_health: bool) -> None:
        if not self.is_up:
            raise next(self.errors)
        self._unanswered.extend(names)

    async def read_response(self) -> bytes | None:
        name = self._unanswered.popleft()
        if name in self.names:
            return None
        self.names.add(name)
        return b"OK"


def shared(clock: Clock, capacity: int) -> tuple[SharedReplay, FakeRedis]:
    memory, server = SharedReplay("redis://127.0.0.1:1/0", clock=clock, capacity=capacity), FakeRedis()
    memory._server = TurnPipeline(cast("Any", server))
    return memory, server


async def test_replays_take_no_share_of_a_shared_memory() -> None:
    memory, _ = shared(Clock(), capacity=90)
    answers = [await memory.first_use("pay.a", "same", UNTIL) for _ in range(200)]
    assert answers == [True] + [False] * 199
    assert await memory.first_use("pay.b", "new", UNTIL)
    assert memory._shares._free == 88


async def test_an_outage_is_logged_once_and_takes_no_share_of_a_shared_memory(caplog: pytest.LogCaptureFixture) -> None:
    memory, server = shared(Clock(), capacity=90)
    server.is_up = False
    for number in range(200):
        with pytest.raises(Unavailable, match="is unavailable"):
            await memory.first_use("pay.a", str(number), UNTIL)
    assert caplog.messages == ["the replay memory failed: RedisError"]
    server.is_up = True
    assert await memory.first_use("pay.b", "new", UNTIL)
    assert (memory._shares._free, memory._shares._used) == (89, {"pay": 1})


def test_entry_given_back_after_it_expired_is_counted_once() -> None:
    shares = _Shares(100)
    shares.take("a", 600.0, 0.0)
    shares.take("b", 1200.0, 661.0)
    shares.give_back("a", 600.0)
    assert (shares._used, shares._free) == ({"b": 1}, 99)


@pytest.mark.parametrize(("rate", "holds"), [(30, True), (40, False)])
async def test_one_namespace_gets_the_documented_rate(rate: int, holds: bool) -> None:
    """Assertions are remembered for 360 s (an `exp` of 300 s), so the rate is capacity / 9 / 360 s."""
    clock = Clock()
    memory = LocalReplay(clock, capacity=LOCAL_CAPACITY // 10)
    try:
        for number in range(450 * rate // 10):
            assert await memory.first_use("apps.a", str(number), clock() + 360)
            clock.advance(seconds=10 / rate)
    except Unavailable:
        assert not holds
    else:
        assert holds
