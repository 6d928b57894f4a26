"""The fixture `store`: each kind of session store in turn, with a clock that the test moves."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scopewright.stores.sessions import SessionStore
from scopewright.stores.sessions.memory import MemorySessions
from scopewright.stores.sessions.sqlite import SqliteSessions
from tests.harness.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[SessionStore]:
    store: SessionStore
    if request.param == "memory":
        store = MemorySessions(clock)
    else:
        store = SqliteSessions(tmp_path / "sessions", clock)
    yield store
    await store.close()
