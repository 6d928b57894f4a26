"""How connections are accepted."""

import asyncio
import errno
import socket
from itertools import pairwise

import pytest

from scopewright.http.accept import Acceptor
from tests.unit.http.served import until


class Door:
    """A listener that counts taken and refused connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.taken: list[socket.socket] = []
        self.turned_away = 0
        self.open = True
        self.acceptor = Acceptor(self.listener, self._welcome, self._take)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), 10)

    def _welcome(self, connected: socket.socket, peer: str) -> bool:
        assert peer == "127.0.0.1"
        if not self.open:
            connected.send(b"no")
            self.turned_away += 1
        return self.open

    async def _take(self, connected: socket.socket) -> None:
        self.taken.append(connected)


async def test_a_flood_leaves_time_for_others_and_all_of_it_gets_in() -> None:
    door = Door()
    callers = [door.connect() for _ in range(100)]
    door.acceptor.start()
    rounds = [len(door.taken)]
    while len(door.taken) < 100:
        await asyncio.sleep(0)
        rounds.append(len(door.taken))
    assert max(later - earlier for earlier, later in pairwise(rounds)) <= 32
    await door.acceptor.stop()
    for each in (*callers, *door.taken):
        each.close()


async def test_a_refused_connection_is_answered_and_closed() -> None:
    door = Door()
    door.open = False
    door.acceptor.start()
    with door.connect() as caller:
        assert await asyncio.to_thread(caller.recv, 10) == b"no"
        assert await asyncio.to_thread(caller.recv, 10) == b""
    await door.acceptor.stop()
    assert (door.taken, door.turned_away) == ([], 1)


async def test_accepting_goes_on_once_files_can_be_opened_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    door = Door()
    door.acceptor.start()
    real, failed = socket.socket.accept, list[int]()

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with door.connect():
        await until(lambda: door.taken)
    assert caplog.text.count("cannot accept connections, retrying in 0.25 s: Too many open files") == 2
    await door.acceptor.stop()
    door.taken[0].close()
