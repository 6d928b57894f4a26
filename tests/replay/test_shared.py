"""Single use across processes; without the server an assertion is neither accepted nor refused."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.serving.shared_replay import SharedReplay
from scopewright.stores.valkey import MAX_CONNECTIONS
from scopewright.verifier.replay import replay_key
from tests.harness.valkey_server import ValkeyServer


@pytest.fixture
async def memories(server: ValkeyServer) -> AsyncIterator[tuple[SharedReplay, SharedReplay]]:
    """As in two processes."""
    both = SharedReplay(f"redis://127.0.0.1:{server.port}/0"), SharedReplay(f"valkey://127.0.0.1:{server.port}/0")
    yield both
    for memory in both:
        await memory.close()


async def test_of_many_concurrent_uses_one_is_the_first(memories: tuple[SharedReplay, SharedReplay]) -> None:
    until = time.time() + 60
    answers = await asyncio.gather(*(memory.first_use("a", "once", until) for memory in memories * 20))
    assert sorted(answers) == [False] * 39 + [True]
    assert await memories[0].first_use("b", "once", until), "the same jti of another client is another assertion"


async def test_a_use_is_remembered_until_its_expiry(memories: tuple[SharedReplay, SharedReplay]) -> None:
    until = time.time() + 0.3
    assert await memories[0].first_use("a", "short", until)
    assert not await memories[1].first_use("a", "short", until)
    await asyncio.sleep(0.4)
    assert await memories[1].first_use("a", "short", time.time() + 60)


async def test_without_the_server_assertions_are_neither_accepted_nor_refused(
    memories: tuple[SharedReplay, SharedReplay], server: ValkeyServer
) -> None:
    server.stop()
    with pytest.raises(Unavailable, match="the replay memory is unavailable"):
        await memories[0].first_use("a", "x", time.time() + 60)
    server.start()
    assert await memories[0].first_use("a", "x", time.time() + 60)


async def test_a_server_that_hangs_costs_few_connections_and_little_time(
    memories: tuple[SharedReplay, SharedReplay], server: ValkeyServer
) -> None:
    memory, until = memories[0], time.time() + 600
    assert await memory.first_use("a", "before", until)
    server.suspend()
    try:
        many = [memory.first_use("a", f"{n}", until) for n in range(10 * MAX_CONNECTIONS)]
        answers = await asyncio.wait_for(asyncio.gather(*many, return_exceptions=True), 60)
    finally:
        server.resume()
    assert {type(answer) for answer in answers} == {Unavailable}
    assert server.connections() <= MAX_CONNECTIONS
    assert await memory.first_use("a", "afterwards", until)
    assert not await memory.first_use("a", "before", until), "the server must still remember"


async def test_the_time_of_remembering_does_not_depend_on_the_servers_clock(server: ValkeyServer) -> None:
    """The issuer's clock is a day behind or ahead of the server's."""
    for name, days in (("behind", -1), ("ahead", 1)):
        memory = SharedReplay(server.url, clock=lambda days=days: time.time() + days * 86400)  # type: ignore[misc]
        until = time.time() + days * 86400 + 600
        assert await memory.first_use("a", name, until)
        assert not await memory.first_use("a", name, until)
        assert 500_000 < server.remaining(f"scopewright:once:{replay_key('a', name).hex()}") <= 600_000
        await memory.close()


async def fill(memory: SharedReplay, owner: str, entries: int, now: float) -> None:
    for n in range(entries):
        assert await memory.first_use(owner, f"{now} {n}", now + 60)


async def test_namespaces_at_their_limit_leave_room_for_others(server: ValkeyServer) -> None:
    now = time.time()
    memory = SharedReplay(server.url, clock=lambda: now, capacity=200)
    for namespace in range(10):
        with pytest.raises(Unavailable, match="of this namespace"):
            await fill(memory, f"greedy-{namespace}.client", 200, now)
    assert await memory.first_use("modest.client", f"{now}", now + 60)
    now += 121
    assert await memory.first_use("greedy-0.other", f"{now}", now + 60), "expired entries make room"
    await memory.close()


def test_an_invalid_url_is_refused() -> None:
    with pytest.raises(Rejected, match="redis://host:6379/0"):
        SharedReplay("memcached://host")
