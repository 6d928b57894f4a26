"""The fixture `store`: each kind of session store in turn, with a clock that the test moves."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from scopewright.stores.sessions import SessionStore
from scopewright.stores.sessions.sqlite import SqliteSessions
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions
from tests.harness.moved_sessions import MovedSessions
from tests.harness.valkey_server import ValkeyServer


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


_KINDS: dict[str, Callable[[pytest.FixtureRequest, Path, Clock], SessionStore]] = {
    "memory": lambda request, folder, clock: MemorySessions(clock),
    "sqlite": lambda request, folder, clock: SqliteSessions(folder / "sessions", clock),
    "valkey": lambda request, folder, clock: MovedSessions(request.getfixturevalue("server"), clock),
}


@pytest.fixture(params=_KINDS)
async def store(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> AsyncIterator[SessionStore]:
    made: SessionStore = _KINDS[request.param](request, tmp_path, clock)
    yield made
    await made.close()
