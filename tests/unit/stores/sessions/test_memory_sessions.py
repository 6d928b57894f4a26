"""The session store in memory is bounded."""

import pytest

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Put
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions


async def test_a_full_store_refuses_writes_until_values_have_ended() -> None:
    clock = Clock()
    store = MemorySessions(clock, max_bytes=1000)
    assert await store.write(Put(b"a" * 32, b"v" * 900, 10, 0))
    with pytest.raises(Unavailable, match="full"):
        await store.write(Put(b"b" * 32, b"v" * 900, 10, 0))
    assert (await store.get(b"b" * 32)).values == (None,)
    clock.advance(seconds=10)
    assert await store.write(Put(b"b" * 32, b"v" * 900, 10, 0))


async def test_two_stores_have_different_ids() -> None:
    assert await MemorySessions().store_id() != await MemorySessions().store_id()
