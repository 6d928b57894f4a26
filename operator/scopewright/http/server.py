"""A listening socket and its connections, from the first to an end that finishes what has begun."""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from scopewright.http import memory
from scopewright.http.accept import Acceptor
from scopewright.http.budget import ConnectionBudget, Scope
from scopewright.http.connection import Connection
from scopewright.http.encode import CLOSE, encode
from scopewright.http.limits import CONNECTION_COST, HANDSHAKE_COST, READ_BUFFER, SOCKET_BUFFER, HttpLimits
from scopewright.http.messages import Answer, Handler, HttpRequest, Refuse
from scopewright.http.tls import Certificate, TlsConnection
from scopewright.http.turns import AddressTurns

log: Final = logging.getLogger(__name__)

_TICK: Final = 0.25
"""Seconds between two looks at the clock: deadlines and the Date header are no more exact than that."""

Count = Callable[[str, str], None]
"""Called for each connection that the server ends: `refused` with the status (or `tls`), `timed_out`, `evicted` (for
the limit of the process) or `address_limit`, these with the connection's state."""


@dataclass(frozen=True, slots=True)
class ConnectionUsage:
    """Connections by state, and the bytes that they take of those that they may take."""

    connections: Counter[str]
    used: int
    limit: int


def _plain(status: int, description: str) -> Answer:
    return Answer(status, ((b"content-type", b"text/plain; charset=utf-8"),), description.encode())


class HttpServer:
    """`now` (the loop's clock) and `date` (a header line) are read for every request, and kept up by one timer.

    `buffer` is what all connections read into, and decrypt into, one after the other.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        refuse: Refuse = _plain,
        limits: HttpLimits = HttpLimits(),  # noqa: B008
        certificate: Certificate | None = None,
        count: Count = lambda event, detail: None,
    ) -> None:
        self.refuse = refuse
        self.limits = limits
        self.count = count
        self.now = 0.0
        self.date = b""
        self.stopping = False
        self.buffer = memoryview(bytearray(READ_BUFFER))
        self._handler = handler
        self._certificate = certificate
        self._connections: set[Connection] = set()
        self.unsettled: set[Connection] = set()
        """Those that take fewer bytes than they are charged for; the next tick looks at them."""
        newcomer = CONNECTION_COST + (HANDSHAKE_COST if certificate else 0)
        self._budget = ConnectionBudget[Connection](limits, newcomer)
        self.handshakes = AddressTurns()
        self._trimmer = memory.Trimmer()
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._connections)

    def usage(self) -> ConnectionUsage:
        states = Counter(connection.state.name.lower() for connection in self._connections)
        return ConnectionUsage(states, self._budget.used, self.limits.memory)

    async def serve(self, listener: socket.socket, stop: asyncio.Event | None = None) -> None:
        """Until `stop` is set or the task is cancelled; the listener is closed on the way out."""
        self._look_at_the_clock()
        ticking = asyncio.create_task(self._tick(), name="http clock")
        with listener.dup() as queue:
            acceptor = Acceptor(listener, self._is_welcome, self._take)
            acceptor.start()
            try:
                await (stop or asyncio.Event()).wait()
            finally:
                self.stopping = True
                await acceptor.stop()
                await self._take_those_in_line(queue)
                queue.close()
                await self._finish()
                ticking.cancel()

    def _protocol(self) -> asyncio.BufferedProtocol:
        if self._certificate is None:
            return Connection(self)
        return TlsConnection(self, self._certificate.context)

    def _is_welcome(self, connected: socket.socket, peer: str) -> bool:
        """Whether there is room for a connection of this address; one that is refused has been answered."""
        if self._budget.admits(peer):
            return True
        self.count("refused", str(int(HTTPStatus.SERVICE_UNAVAILABLE)))
        if self._certificate is None:
            answer = self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections")
            with contextlib.suppress(OSError):
                connected.send(encode(answer, self.date, CLOSE, head_only=False), socket.MSG_DONTWAIT)
        return False

    async def _take(self, connected: socket.socket) -> None:
        """What is not read yet, by us or by the client, is in the kernel, and bounded there."""
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                connected.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connected)
        except OSError:  # it has been reset already
            connected.close()

    async def _take_those_in_line(self, queue: socket.socket) -> None:
        """Connections that the kernel has accepted already: closing the socket would reset them."""
        while True:
            try:
                connected, _ = queue.accept()
            except OSError:
                return
            connected.setblocking(False)
            await self._take(connected)

    async def _finish(self) -> None:
        for connection in list(self._connections):
            connection.finish()
        if self._connections:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self.limits.grace)
        for connection in list(self._connections):
            connection.abort()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            try:
                self._look_at_the_clock()
                self._settle()
                self._budget.tick()
                self._trimmer.look(self._budget.used, self.now)
            except Exception:
                log.exception("the clock and the certificate are not looked at")
            for connection in [c for c in self._connections if c.deadline <= self.now]:
                try:
                    connection.expire()
                except Exception:
                    # One that cannot be ended must not keep all others from it.
                    log.exception("a connection's time is up, and it cannot be ended")

    def _settle(self) -> None:
        unsettled, self.unsettled = self.unsettled & self._connections, set()
        for connection in unsettled:
            connection.settle()

    def _look_at_the_clock(self) -> None:
        self.now = asyncio.get_running_loop().time()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        if self._certificate is not None:
            self._certificate.refresh()

    # What connections call

    def admit(self, connection: Connection, peer: str) -> bool:
        """Whether there is room for it, be it in place of others. It is looked after either way, until forgotten."""
        self._connections.add(connection)
        if self.stopping:
            connection.finish()
        ended, full = self._budget.add(connection, peer)
        self._end(ended)
        return full is None

    def charge(self, connection: Connection, size: int) -> None:
        """Record the bytes that the connection takes beside itself. Where that is too much, connections are ended."""
        self._end(self._budget.charge(connection, size))

    def _end(self, ended: Iterable[tuple[Connection, Scope]]) -> None:
        for connection, scope in ended:
            self.count("evicted" if scope == "process" else "address_limit", connection.state.name.lower())
            connection.evict()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.unsettled.discard(connection)
        self._budget.remove(connection)
        if not self._connections:
            self._empty.set()

    def answer(self, http: HttpRequest) -> Answer | Awaitable[Answer]:
        try:
            return self._handler(http)
        except Exception as error:
            return self._failed(error)

    async def awaited(self, answer: Awaitable[Answer]) -> Answer:
        try:
            return await answer
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> Answer:
        log.error("a request failed", exc_info=error)
        return self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; it has logged why")
