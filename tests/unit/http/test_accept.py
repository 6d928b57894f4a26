"""How connections are accepted."""

import asyncio
import errno
import socket
from itertools import pairwise

import pytest

from scopewright.http.accept import Acceptor
from tests.harness.waiting import until


class CountingListener:
    """A listener that keeps accepted connections and counts refused ones."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.accepted: list[socket.socket] = []
        self.refused = 0
        self.admits = True
        self.acceptor = Acceptor(self.socket, self._is_admitted, self._on_accepted)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.socket.getsockname(), 10)

    def _is_admitted(self, connected: socket.socket, peer: str) -> bool:
        assert peer == "127.0.0.1"
        if not self.admits:
            connected.send(b"no")
            self.refused += 1
        return self.admits

    async def _on_accepted(self, connected: socket.socket) -> None:
        self.accepted.append(connected)


async def test_flood_of_connections_is_accepted_in_batches() -> None:
    listener = CountingListener()
    callers = [listener.connect() for _ in range(100)]
    listener.acceptor.start()
    rounds = [len(listener.accepted)]
    while len(listener.accepted) < 100:
        await asyncio.sleep(0)
        rounds.append(len(listener.accepted))
    assert max(later - earlier for earlier, later in pairwise(rounds)) <= 32
    await listener.acceptor.stop()
    for each in (*callers, *listener.accepted):
        each.close()


async def test_refused_connection_gets_a_response_and_is_closed() -> None:
    listener = CountingListener()
    listener.admits = False
    listener.acceptor.start()
    with listener.connect() as caller:
        assert await asyncio.to_thread(caller.recv, 10) == b"no"
        assert await asyncio.to_thread(caller.recv, 10) == b""
    await listener.acceptor.stop()
    assert (listener.accepted, listener.refused) == ([], 1)


async def test_accept_is_retried_after_too_many_open_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listener = CountingListener()
    listener.acceptor.start()
    real, failed = socket.socket.accept, list[int]()

    def accept(listener: socket.socket) -> tuple[socket.socket, object]:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(errno.EMFILE, "Too many open files")
        return real(listener)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with listener.connect():
        await until(lambda: listener.accepted)
    assert caplog.text.count("cannot accept connections, retrying in 0.25 s: Too many open files") == 2
    await listener.acceptor.stop()
    listener.accepted[0].close()
