"""The process of an attacker: `python -m tests.attacks.attack KIND PORT`. It runs until its standard input is closed.

Every connection that the server closes is opened again.
"""

import contextlib
import select
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Final

_HEAD: Final = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
_ASKS: Final = b"GET /jwks.json HTTP/1.1\r\nHost: x\r\n\r\n"
_LARGE: Final = 250_000
_BIND_ADDRESS_NO_PORT: Final = 24
"""Linux socket option: the port is chosen at connect, so that addresses do not share ports."""
_BATCH: Final = 200
"""Connections that are opened between two polls: an attacker is not faster than its victim here."""


@cache
def hello() -> bytes:
    """The first message of a TLS handshake."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="issuer.example").do_handshake()
    return outgoing.read()


def partial_bodies(n: int) -> bytes:
    """250 KB each: one chunk, a body with a length, a head within its limit, and one header."""
    return (
        _HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (2 * _LARGE) + b"x" * _LARGE,
        _HEAD + b"Content-Length: 165000\r\n\r\n" + b"x" * 164_000,
        _HEAD + b"".join(b"X-%d: %b\r\n" % (i, b"y" * 600) for i in range(55)),
        _HEAD + b"X: " + b"y" * _LARGE,
    )[n % 4]


@dataclass(frozen=True)
class Kind:
    connections: int
    addresses: int
    sends: Callable[[int], bytes]
    dribbles: bytes = b""
    """Sent byte by byte after `sends`."""
    reads: bool = True


KINDS: Final = {
    "bodies": Kind(3_000, 3, partial_bodies),
    "idle": Kind(8_300, 9, lambda n: _ASKS if n % 2 else b""),
    "handshakes": Kind(6_000, 1, lambda n: hello() if n % 3 else b""),
    "handshakes from many": Kind(8_300, 9, lambda n: hello() if n % 2 else b""),
    "dribble": Kind(2_000, 2, lambda n: _HEAD[:5], dribbles=_HEAD[5:] + b"X: " + b"y" * 5_000),
    "unread": Kind(1_500, 3, lambda n: _ASKS * 60, reads=False),
    "pipelined": Kind(1_500, 3, lambda n: (_HEAD + b"Content-Length: 3\r\n\r\na=b") * 60 + _HEAD, reads=False),
}


@dataclass(slots=True)
class _Open:
    socket: socket.socket
    rest: bytes = field(repr=False)
    dribbles: bytes = field(repr=False)


class Attack:
    def __init__(self, kind: Kind, port: int) -> None:
        self._kind = kind
        self._port = port
        self._epoll = select.epoll()
        self._tried = 0
        self._open: dict[int, _Open] = {}

    def run(self) -> None:
        stdin = sys.stdin.fileno()
        self._epoll.register(stdin, select.EPOLLIN)
        announced = False
        while True:
            for _ in range(min(_BATCH, self._kind.connections - len(self._open))):
                self._connect()
            for file, events in self._epoll.poll(0.02):
                if file == stdin:
                    return
                self._continue(file, events)
            if self._kind.dribbles:
                self._dribble()
            if not announced and self._tried >= self._kind.connections:
                print("attacking", flush=True)
                announced = True

    def _connect(self) -> None:
        n = self._tried
        self._tried += 1
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
        if not self._kind.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.bind((f"127.0.0.{2 + n % self._kind.addresses}", 0))
        with contextlib.suppress(BlockingIOError):
            connection.connect(("127.0.0.1", self._port))
        self._open[connection.fileno()] = _Open(connection, self._kind.sends(n), self._kind.dribbles)
        self._epoll.register(connection, select.EPOLLOUT | select.EPOLLRDHUP)

    def _continue(self, file: int, events: int) -> None:
        opened = self._open[file]
        try:
            if events & (select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP):
                self._close(file)
            elif events & select.EPOLLOUT:
                if opened.rest:
                    opened.rest = opened.rest[opened.socket.send(opened.rest[:65536]) :]
                if not opened.rest:
                    self._epoll.modify(file, (select.EPOLLIN if self._kind.reads else 0) | select.EPOLLRDHUP)
            elif not opened.socket.recv(4096):
                self._close(file)
        except BlockingIOError:
            return
        except OSError:
            self._close(file)

    def _dribble(self) -> None:
        """Send a byte on every twentieth connection, on others each time."""
        for file in [file for file in self._open if file % 20 == self._tried % 20]:
            opened = self._open[file]
            if not opened.rest:
                with contextlib.suppress(OSError):
                    opened.dribbles = opened.dribbles[opened.socket.send(opened.dribbles[:1]) :]

    def _close(self, file: int) -> None:
        self._epoll.unregister(file)
        self._open.pop(file).socket.close()


if __name__ == "__main__":
    Attack(KINDS[sys.argv[1]], int(sys.argv[2])).run()
