"""The fixture `store`: each kind of session store in turn, with a clock that the test moves."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scopewright.stores.sessions import SessionStore
from scopewright.stores.sessions.sqlite import SqliteSessions
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions


@pytest.fixture
def clock() -> Clock:
    return Clock()


_KINDS: dict[str, Callable[[Path, Clock], SessionStore]] = {
    "memory": lambda folder, clock: MemorySessions(clock),
    "sqlite": lambda folder, clock: SqliteSessions(folder / "sessions", clock),
}


@pytest.fixture(params=_KINDS)
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[SessionStore]:
    made: SessionStore = _KINDS[request.param](tmp_path, clock)
    yield made
    await made.close()
