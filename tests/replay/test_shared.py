"""What is used once is used once, whoever asks; and where the memory is away, nobody is believed."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.replay import Shared

from .server import Server


@pytest.fixture
async def memories(server: Server) -> AsyncIterator[tuple[Shared, Shared]]:
    """As two processes would have them."""
    both = Shared(f"redis://127.0.0.1:{server.port}/0"), Shared(f"valkey://127.0.0.1:{server.port}/0")
    yield both
    for memory in both:
        await memory.close()


async def test_of_many_at_once_one_is_the_first(memories: tuple[Shared, Shared]) -> None:
    until = time.time() + 60
    answers = await asyncio.gather(*(memory.first_use("a", "once", until) for memory in memories * 20))
    assert sorted(answers) == [False] * 39 + [True]
    assert await memories[0].first_use("b", "once", until), "another client's is another"


async def test_it_is_remembered_until_its_end(memories: tuple[Shared, Shared]) -> None:
    until = time.time() + 0.3
    assert await memories[0].first_use("a", "short", until)
    assert not await memories[1].first_use("a", "short", until)
    await asyncio.sleep(0.4)
    assert await memories[1].first_use("a", "short", time.time() + 60)


async def test_while_it_is_away_nobody_is_believed_and_nobody_refused(
    memories: tuple[Shared, Shared], server: Server
) -> None:
    server.stop()
    with pytest.raises(Unavailable, match="away"):
        await memories[0].first_use("a", "x", time.time() + 60)
    server.start()
    assert await memories[0].first_use("a", "x", time.time() + 60)


def test_a_url_that_is_none_is_told() -> None:
    with pytest.raises(Rejected, match="redis://host:6379/0"):
        Shared("memcached://host")
