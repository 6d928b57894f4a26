"""Commands share round trips, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import RedisError, ResponseError

from scopewright.stores.valkey import OPERATION_TIMEOUT_SECONDS, Command, TurnPipeline, client_of
from tests.harness.valkey_server import ValkeyServer


@pytest.fixture
async def pipeline(server: ValkeyServer) -> AsyncIterator[TurnPipeline]:
    pipeline = TurnPipeline(client_of(server.url, "BadReplay", "the replay memory"))
    yield pipeline
    await pipeline.client.aclose()


async def test_commands_of_one_turn_use_one_connection(pipeline: TurnPipeline, server: ValkeyServer) -> None:
    others = server.connections()
    results = await asyncio.gather(*(pipeline.call("SET", f"one-turn-{n}", b"", "NX", "PX", 60_000) for n in range(50)))
    assert set(results) == {b"OK"}
    assert server.connections() - others == 1


async def test_a_command_that_the_server_refuses_fails_alone(pipeline: TurnPipeline) -> None:
    commands: list[Command] = [("ECHO", "first"), ("SET", "refused", b"", "PX", 0), ("ECHO", "last")]
    results = await asyncio.gather(*(pipeline.call(*command) for command in commands), return_exceptions=True)
    assert results[::2] == [b"first", b"last"]
    assert isinstance(results[1], ResponseError)


async def test_one_connection_serves_commands_of_many_turns(pipeline: TurnPipeline, server: ValkeyServer) -> None:
    others = server.connections()
    for n in range(20):
        assert await pipeline.call("ECHO", str(n)) == str(n).encode()
    assert server.connections() - others == 1


async def test_a_caller_that_is_cancelled_leaves_the_other_commands(pipeline: TurnPipeline) -> None:
    """Before it is sent nothing is sent. Later its command is sent, and its result is for no other caller."""
    for turns in range(4):
        calls = [asyncio.ensure_future(pipeline.call("ECHO", f"{turns} {n}")) for n in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        calls[1].cancel()
        assert [await calls[0], await calls[2]] == [f"{turns} {n}".encode() for n in (0, 2)]
        assert calls[1].cancelled()
    assert await pipeline.call("ECHO", "afterwards") == b"afterwards"


async def test_a_server_that_hangs_takes_the_time_of_one_command_from_each(
    pipeline: TurnPipeline, server: ValkeyServer
) -> None:
    """A later turn has its own time, and its own connection: it does not wait long for an earlier one."""

    async def seconds_until_failure(delay: float) -> float:
        await asyncio.sleep(delay)
        started = time.monotonic()
        with pytest.raises((RedisError, OSError)):
            await pipeline.call("ECHO", "never")
        return time.monotonic() - started

    await pipeline.call("PING")
    server.suspend()
    try:
        took = await asyncio.gather(*(seconds_until_failure(delay) for delay in (0.0, 0.0, 0.5, 0.5)))
    finally:
        server.resume()
    assert max(took) < OPERATION_TIMEOUT_SECONDS + 0.5, took
    assert await pipeline.call("ECHO", "again") == b"again"


async def test_a_connection_that_the_server_has_closed_is_replaced(
    pipeline: TurnPipeline, server: ValkeyServer
) -> None:
    await pipeline.call("PING")
    server.stop()
    with pytest.raises((RedisError, OSError)):
        await pipeline.call("PING")
    server.start()
    assert await pipeline.call("ECHO", "again") == b"again"
