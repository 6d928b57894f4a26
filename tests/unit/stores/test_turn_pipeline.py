"""Every command gets its own result, whatever happens to the exchange with the server, and does not wait long."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest
from redis.exceptions import ResponseError

from scopewright.stores.valkey import PATIENCE_SECONDS, Command, TurnPipeline

Answer = Callable[[], float]
"""The seconds until the answer; raises what the connection raises."""


MOST_CONNECTIONS = 3


class FakeServer:
    """A pool of at most MOST_CONNECTIONS, and its connections.

    Each command `("ECHO", x)` is answered with x, `("FAIL", x)` with a ResponseError.
    """

    def __init__(self, answer: Answer = lambda: 0.0) -> None:
        self.connection_pool = self
        self.answer = answer
        self.connections: list[FakeConnection] = []
        self.free: list[FakeConnection] = []
        self.batches: list[list[Command]] = []
        self._room = asyncio.Semaphore(MOST_CONNECTIONS)

    async def get_connection(self) -> "FakeConnection":
        await self._room.acquire()
        if self.free:
            connection = self.free.pop()
            connection.check()
            return connection
        self.connections.append(FakeConnection(self))
        return self.connections[-1]

    async def release(self, connection: "FakeConnection") -> None:
        self.free.append(connection)
        self._room.release()


class FakeConnection:
    def __init__(self, server: FakeServer) -> None:
        self._server = server
        self._reader = asyncio.StreamReader()
        self._unanswered: deque[Command] = deque()

    def pack_commands(self, commands: Iterable[Command]) -> list[Command]:
        return list(commands)

    async def send_packed_command(self, commands: list[Command], *, check_health: bool) -> None:
        assert not self._unanswered, "a connection has one exchange at a time"
        if self._reader.at_eof():
            raise ConnectionError
        self._server.batches.append(commands)
        self._unanswered.extend(commands)

    async def read_response(self) -> Any:
        await asyncio.sleep(self._server.answer())
        name, value = self._unanswered.popleft()
        if name == "FAIL":
            raise ResponseError(value)
        return value

    async def disconnect(self, *, nowait: bool) -> None:
        self._unanswered.clear()

    def check(self) -> None:
        """Connect again if the server has closed the connection, as the pool does."""
        if self._reader.at_eof():
            self._reader = asyncio.StreamReader()

    def close_by_server(self) -> None:
        self._reader.feed_eof()


def pipeline_to(server: FakeServer) -> TurnPipeline:
    return TurnPipeline(cast("Any", server))


async def test_connection_that_fails_fails_all_commands_of_the_round_trip() -> None:
    answers = iter((0.0, ConnectionError()))

    def answer() -> float:
        next_one = next(answers)
        if isinstance(next_one, Exception):
            raise next_one
        return next_one

    pipeline = pipeline_to(FakeServer(answer))
    results = await asyncio.gather(pipeline.call("ECHO", 1), pipeline.call("ECHO", 2), return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError, ConnectionError]


async def test_exchange_that_is_cancelled_cancels_its_commands_and_no_later_ones() -> None:
    server = FakeServer(lambda: 60)
    pipeline = pipeline_to(server)
    first = pipeline.call("ECHO", 1)
    await asyncio.sleep(0.001)
    later = pipeline.call("ECHO", 2)
    server.answer = lambda: 0
    next(iter(pipeline._exchanges)).cancel()
    async with asyncio.timeout(5):
        assert await later == 2
    assert first.cancelled()


async def test_commands_that_come_during_a_round_trip_share_the_next_one() -> None:
    server = FakeServer(lambda: PATIENCE_SECONDS / 4)
    pipeline = pipeline_to(server)
    first = pipeline.call("ECHO", 1)
    await asyncio.sleep(0)
    later = []
    for n in range(3):
        await asyncio.sleep(0)
        later.append(pipeline.call("ECHO", n))
    assert [await first, *[await each for each in later]] == [1, 0, 1, 2]
    assert [len(batch) for batch in server.batches] == [1, 3]
    assert len(server.connections) == 1


async def test_commands_do_not_wait_for_a_round_trip_that_takes_long() -> None:
    """Those after them wait for neither."""
    loop = asyncio.get_running_loop()
    server = FakeServer(lambda: 1.0)
    pipeline = pipeline_to(server)
    slow = pipeline.call("ECHO", "slow")
    await asyncio.sleep(0.01)
    server.answer = lambda: 0.0
    for most in (PATIENCE_SECONDS + 0.1, 0.05, 0.05):
        started = loop.time()
        assert await pipeline.call("ECHO", "fast") == "fast"
        assert loop.time() - started < most
    assert len(server.connections) == 2
    assert await slow == "slow"


async def test_after_a_stall_the_commands_that_waited_for_a_connection_are_answered() -> None:
    """All connections of the pool are in use then."""
    server = FakeServer(lambda: 20 * PATIENCE_SECONDS)
    pipeline = pipeline_to(server)
    calls = []
    for n in range(100):
        calls.append(pipeline.call("ECHO", n))
        await asyncio.sleep(PATIENCE_SECONDS / 4)
    server.answer = lambda: 0.0
    async with asyncio.timeout(5):
        assert await asyncio.gather(*calls) == list(range(100))
    assert len(server.connections) == MOST_CONNECTIONS


async def test_kept_connection_that_the_server_has_closed_is_not_used() -> None:
    server = FakeServer()
    pipeline = pipeline_to(server)
    assert await pipeline.call("ECHO", 1) == 1
    assert not server.free  # it is kept
    server.connections[0].close_by_server()
    assert await pipeline.call("ECHO", 2) == 2


async def test_exchange_that_is_cancelled_before_it_begins_cancels_its_commands() -> None:
    pipeline = pipeline_to(FakeServer())
    call = pipeline.call("ECHO", 1)
    await asyncio.sleep(0)
    next(iter(pipeline._exchanges)).cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await call


@pytest.mark.parametrize("seed", range(20))
async def test_results_are_those_of_one_exchange_for_each_command(seed: int) -> None:
    """Commands at random times, some refused, some given up, over connections of random speed that sometimes fail."""
    chance = random.Random(seed)

    def answer() -> float:
        if chance.random() < 0.02:
            raise ConnectionError
        return chance.choice((0.0, 0.0, 0.0, 0.001, 0.02))

    pipeline = pipeline_to(FakeServer(answer))
    calls: list[tuple[str, int, asyncio.Future[Any]]] = []
    for n in range(200):
        name = chance.choice(("ECHO", "ECHO", "FAIL"))
        calls.append((name, n, pipeline.call(name, n)))
        if chance.random() < 0.1:
            calls[chance.randrange(len(calls))][2].cancel()
        if chance.random() < 0.5:
            await asyncio.sleep(chance.choice((0, 0, 0.001)))
    async with asyncio.timeout(10):
        results = await asyncio.gather(*(call for *_, call in calls), return_exceptions=True)
    for (name, n, _), result in zip(calls, results, strict=True):
        if isinstance(result, asyncio.CancelledError | ConnectionError):
            continue
        assert (result.args if isinstance(result, ResponseError) else result) == ((n,) if name == "FAIL" else n)
    await asyncio.sleep(0)
    assert not pipeline._exchanges
