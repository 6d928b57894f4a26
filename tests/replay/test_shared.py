"""What is used once is used once, whoever asks; and where the memory is away, nobody is believed."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scopewright.core.failures import Rejected, Unavailable
from scopewright.issuer.replay import Shared
from tests.debian import program


class Server:
    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = [program("valkey-server", "redis-server", package="redis-server"), "--port", str(self.port)]
        command += ["--bind", "127.0.0.1", "--save", "", "--daemonize", "no", "--dir", str(self._folder)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not _answers(self.port):
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.02)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("replay"))
    yield server
    server.stop()


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
