"""Serve HTTP on a listening socket, and finish requests in progress when it stops."""

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
from scopewright.http.host import Count, HostedConnection
from scopewright.http.limits import CONNECTION_COST, HANDSHAKE_COST, READ_BUFFER, SOCKET_BUFFER, HttpLimits
from scopewright.http.messages import Answer, Handler, HttpRequest, Refuse
from scopewright.http.tls import Certificate, TlsConnection
from scopewright.http.turns import AddressTurns

log: Final = logging.getLogger(__name__)

_TICK_SECONDS: Final = 0.25
"""Interval at which the clock is read. It bounds the precision of deadlines and of the Date header."""


_MAX_HELD_BYTES: Final = 256 * 1024
"""Answers that are held for the audit lines of the turn. After more, both are written at once."""


@dataclass(frozen=True, slots=True)
class ConnectionUsage:
    """Connections by state, the bytes that they use, and the limit of those."""

    connections: Counter[str]
    used: int
    limit: int


def _plain(status: int, description: str) -> Answer:
    return Answer(status, ((b"content-type", b"text/plain; charset=utf-8"),), description.encode())


class HttpServer:
    """Implements `ConnectionHost`. One timer updates `now` and `date`."""

    def __init__(
        self,
        handler: Handler,
        *,
        refuse: Refuse = _plain,
        limits: HttpLimits = HttpLimits(),  # noqa: B008
        certificate: Certificate | None = None,
        count: Count = lambda event, detail: None,
        before_answers: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_answers` is called before answers are sent, at least once in a turn of the event loop.
        If it fails, the connections of these answers are closed.
        """
        self.refuse = refuse
        self.limits = limits
        self.count = count
        self.now = 0.0
        self.date = b""
        self.stopping = False
        self.buffer = memoryview(bytearray(READ_BUFFER))
        self._handler = handler
        self._before_answers = before_answers
        self._holding: list[HostedConnection] = []
        self._held_bytes = 0
        self._certificate = certificate
        self._connections: set[HostedConnection] = set()
        self.overcharged: set[HostedConnection] = set()
        cost = CONNECTION_COST + (HANDSHAKE_COST if certificate else 0)
        self._budget = ConnectionBudget[HostedConnection](limits, new_connection_cost=cost)
        self.handshakes = AddressTurns()
        self._trimmer = memory.Trimmer()
        self._empty = asyncio.Event()

    def usage(self) -> ConnectionUsage:
        states = Counter(connection.state.name.lower() for connection in self._connections)
        return ConnectionUsage(states, self._budget.used, self.limits.memory)

    async def serve(self, listener: socket.socket, stop: asyncio.Event | None = None) -> None:
        """Serve until `stop` is set or the task is cancelled, then close the listener."""
        self._read_clock()
        ticking = asyncio.create_task(self._tick(), name="http clock")
        with listener.dup() as queue:
            acceptor = Acceptor(listener, self._is_admitted, self._on_accepted)
            acceptor.start()
            try:
                await (stop or asyncio.Event()).wait()
            finally:
                self.stopping = True
                await acceptor.stop()
                await self._accept_queued(queue)
                queue.close()
                await self._finish()
                ticking.cancel()

    def _protocol(self) -> asyncio.BufferedProtocol:
        if self._certificate is None:
            return Connection(self)
        return TlsConnection(self, self._certificate.context)

    def _is_admitted(self, connected: socket.socket, peer: str) -> bool:
        """Whether there is room for a connection of this address. If not, it is answered here."""
        if self._budget.admits(peer):
            return True
        self.count("refused", str(int(HTTPStatus.SERVICE_UNAVAILABLE)))
        if self._certificate is None:
            answer = self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections")
            with contextlib.suppress(OSError):
                connected.send(encode(answer, self.date, CLOSE, head_only=False), socket.MSG_DONTWAIT)
        return False

    async def _on_accepted(self, connected: socket.socket) -> None:
        """Bytes that were not read yet, in either direction, stay in the kernel, within these limits."""
        try:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                connected.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connected)
        except OSError:  # the client has reset it
            connected.close()

    async def _accept_queued(self, queue: socket.socket) -> None:
        """Take connections from the kernel's queue: closing the socket would reset them."""
        while True:
            try:
                connected, _ = queue.accept()
            except OSError:
                return
            connected.setblocking(False)
            await self._on_accepted(connected)

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
            await asyncio.sleep(_TICK_SECONDS)
            try:
                self._read_clock()
                self._report_sizes()
                self._budget.tick()
                self._trimmer.update(self._budget.used, self.now)
            except Exception:
                log.exception("the server's tick failed, retrying in %.2f s", _TICK_SECONDS)
            for connection in [c for c in self._connections if c.deadline <= self.now]:
                try:
                    connection.expire()
                except Exception:
                    # It must not keep the others from their timeouts.
                    log.exception("closing a connection after its timeout failed")

    def _report_sizes(self) -> None:
        overcharged, self.overcharged = self.overcharged & self._connections, set()
        for connection in overcharged:
            connection.report_size()

    def _read_clock(self) -> None:
        self.now = asyncio.get_running_loop().time()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        if self._certificate is not None:
            self._certificate.refresh()

    # Called by connections

    def admit(self, connection: HostedConnection, peer: str) -> bool:
        self._connections.add(connection)
        if self.stopping:
            connection.finish()
        evicted, full = self._budget.add(connection, peer)
        self._evict(evicted)
        return full is None

    def charge(self, connection: HostedConnection, size: int) -> None:
        self._evict(self._budget.charge(connection, size))

    def _evict(self, evicted: Iterable[tuple[HostedConnection, Scope]]) -> None:
        for connection, scope in evicted:
            self.count("evicted" if scope == "process" else "address_limit", connection.state.name.lower())
            connection.evict()

    def forget(self, connection: HostedConnection) -> None:
        self._connections.discard(connection)
        self.overcharged.discard(connection)
        self._budget.remove(connection)
        if not self._connections:
            self._empty.set()

    def hold(self, connection: HostedConnection, size: int) -> None:
        if not self._holding:
            asyncio.get_running_loop().call_soon(self.send_answers)
        self._holding.append(connection)
        self._held_bytes += size
        if self._held_bytes > _MAX_HELD_BYTES:
            self.send_answers()

    def send_answers(self) -> None:
        holding, self._holding, self._held_bytes = self._holding, [], 0
        try:
            self._before_answers()
        except Exception:
            # Their audit lines may be missing, so no answer is sent.
            log.exception("what precedes answers failed, closing %d connections", len(holding))
            for connection in holding:
                connection.abort()
            return
        for connection in holding:
            try:
                connection.send_answers()
            except Exception:
                log.exception("sending an answer failed")
                connection.abort()

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
        return self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its log has the error")
