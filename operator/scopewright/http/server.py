"""A listening socket and its connections, from the first to an end that finishes what has begun."""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final

from scopewright.http.connection import Connection
from scopewright.http.limits import Limits
from scopewright.http.messages import Answer, Handler, HttpRequest, Refuse
from scopewright.http.tls import Certificate

log: Final = logging.getLogger(__name__)

_TICK: Final = 0.25
"""Seconds between two looks at the clock: deadlines and the Date header are no more exact than that."""
_BACKLOG: Final = 2048


def _plain(status: int, description: str) -> Answer:
    return Answer(status, ((b"content-type", b"text/plain; charset=utf-8"),), description.encode())


class Server:
    """`now` (the loop's clock) and `date` (a header line) are read for every request, and kept up by one timer."""

    def __init__(
        self,
        handler: Handler,
        *,
        refuse: Refuse = _plain,
        limits: Limits = Limits(),  # noqa: B008
        certificate: Certificate | None = None,
    ) -> None:
        self.refuse = refuse
        self.limits = limits
        self.now = 0.0
        self.date = b""
        self.stopping = False
        self._handler = handler
        self._certificate = certificate
        self._connections: set[Connection] = set()
        self._admitted: dict[Connection, str] = {}
        """With the address of its peer."""
        self._peers: Counter[str] = Counter()
        """Of those that are admitted."""
        self._held: dict[Connection, int] = {}
        self._held_together = 0
        self._empty = asyncio.Event()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def serve(self, listener: socket.socket, stop: asyncio.Event | None = None) -> None:
        """Until `stop` is set or the task is cancelled; the listener is closed on the way out."""
        loop = asyncio.get_running_loop()
        self._look_at_the_clock()
        ticking = asyncio.create_task(self._tick(), name="http clock")
        with listener.dup() as queue:
            accepting = await loop.create_server(
                lambda: Connection(self), sock=listener, backlog=_BACKLOG, **self._tls()
            )
            try:
                await (stop or asyncio.Event()).wait()
            finally:
                accepting.close()
                await self._take_those_in_line(queue)
                queue.close()
                await self._finish()
                ticking.cancel()

    async def _take_those_in_line(self, queue: socket.socket) -> None:
        """Connections that the kernel has accepted already: closing the socket would reset them."""
        loop = asyncio.get_running_loop()
        self.stopping = True
        while True:
            try:
                connected, _ = queue.accept()
            except OSError:
                return
            connected.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(lambda: Connection(self), connected, **self._tls())

    def _tls(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        return {
            "ssl": self._certificate.context,
            "ssl_handshake_timeout": self.limits.request_timeout,
            "ssl_shutdown_timeout": self.limits.linger,
        }

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
            except Exception:
                log.exception("the clock and the certificate are not looked at")
            for connection in [c for c in self._connections if c.deadline <= self.now]:
                try:
                    connection.expire()
                except Exception:
                    # One that cannot be ended must not keep all others from it.
                    log.exception("a connection's time is up, and it cannot be ended")

    def _look_at_the_clock(self) -> None:
        self.now = asyncio.get_running_loop().time()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        if self._certificate is not None:
            self._certificate.refresh()

    # What connections call

    def admit(self, connection: Connection, peer: str) -> bool:
        """Whether there is room for it. It is looked after either way, until it is forgotten.

        One that is refused takes no room, or else an address beyond its limit could still fill the server.
        """
        self._connections.add(connection)
        if self.stopping:
            connection.finish()
        each = self.limits.connections_per_peer
        if len(self._admitted) >= self.limits.connections or (each is not None and peer and self._peers[peer] >= each):
            return False
        self._admitted[connection] = peer
        self._peers[peer] += 1
        return True

    def hold(self, connection: Connection, size: int) -> None:
        """What the connection makes this process keep, in bytes. Where that is too much of all together, whoever began
        first is cut off: one that reads has long been done.
        """
        self._held_together += size - self._held.get(connection, 0)
        if not size:
            self._held.pop(connection, None)
            return
        self._held[connection] = size
        while self._held_together > self.limits.held and self._held:
            oldest = next(iter(self._held))
            self._held_together -= self._held.pop(oldest)
            # What was begun in this very turn has to have begun to be cancelled.
            asyncio.get_running_loop().call_soon(oldest.abort)

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.hold(connection, 0)
        peer = self._admitted.pop(connection, None)
        if peer is not None:
            self._peers[peer] -= 1
            if not self._peers[peer]:
                del self._peers[peer]
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
