"""One connection: requests are answered in order, most of them in the call that delivers their bytes.

Answers are held until the server has written the audit lines of this turn of the event loop (`send_answers`).
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Final

from scopewright.http.budget import ConnectionState
from scopewright.http.encode import CLOSE, CONTINUE, encode
from scopewright.http.host import ConnectionHost, Transport
from scopewright.http.messages import Answer, HttpRequest, request_size
from scopewright.http.parser import RequestParser, RequestRefused

_NEVER: Final = float("inf")
_MAX_ANSWERS_PER_WRITE: Final = 4
"""Pipelined requests that are answered before other connections have their turn."""
_MAX_BYTES_PER_WRITE: Final = 64 * 1024
"""After these the answers are written first: the transport calls `pause_writing` only in a write."""
_WRITE_BUFFER: Final = 16 * 1024
"""Bytes that the transport buffers before it calls `pause_writing`. Small: there are thousands of connections."""
_WAITING_REQUEST_COST: Final = 2048
"""Bytes that a waiting request takes in addition to those that were received."""
_KEEP_ALIVE: Final = b"connection: keep-alive\r\n"


class Connection(asyncio.BufferedProtocol):
    """Reading is paused while a request waits for its answer or an answer waits for the client, so no queue grows.

    `deadline`, on the loop's clock, is when the server calls `expire`. `state` began at `since`.
    """

    def __init__(self, server: ConnectionHost) -> None:
        self.deadline = _NEVER
        self.state = ConnectionState.REQUEST
        self.since = server.now
        self._server = server
        self._buffer = server.buffer
        self._transport: Transport
        self._parser: RequestParser
        self._waiting: deque[HttpRequest] = deque()
        self._held: list[bytes] = []
        """Answers that wait for `send_answers`."""
        self._held_size = 0
        self._refused: RequestRefused | None = None
        self._task: asyncio.Task[None] | None = None
        self._task_size = 0
        self._discarding = False
        """Further bytes are discarded."""
        self._unread = False
        """The client does not read its answers. No further answer is made until it does."""
        self._paused = False
        self._half_close = True
        """The client may end its side and still read. Not with TLS."""
        self._last_read = 0
        """Bytes of the last read, which waiting requests may refer to."""
        self._overhead = 0
        """Bytes that TLS takes."""
        self._charged = 0
        """Bytes that were reported to the server; at least those that this connection takes."""

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.accepted(transport, transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._discarding:
            return
        parser = self._parser
        began = parser.partial
        try:
            parser.feed(bytes(self._buffer[:nbytes]))
        except RequestRefused as refused:
            self._refused = refused
        requests = parser.requests
        if len(requests) == 1 and not (self._waiting or self._held or self._task or self._unread):
            # Most requests: without a queue.
            self._answer(requests.pop())
            self._after_answers()
        elif requests or self._waiting or self._refused:
            self._waiting.extend(requests)
            requests.clear()
            self._last_read = nbytes
            self._answer_waiting()
        elif parser.partial and not began and self._task is None:
            self._enter(ConnectionState.REQUEST, self._server.now + self._server.limits.request_timeout)
        if parser.awaits_continue:
            self._continue()
        if parser.partial or self._charged:
            self._charge()

    def connection_lost(self, exc: Exception | None) -> None:
        self._discarding = True
        self._waiting.clear()
        self._held.clear()
        self._parser.close()
        self._server.forget(self)

    def eof_received(self) -> bool:
        """The client sends no more. Requests that were received are still answered, if the transport allows it."""
        if self._held:
            self._server.send_answers()
        self._discarding = True
        return bool(self._waiting or self._task) and self._half_close

    def pause_writing(self) -> None:
        self._unread = True
        self._enter(ConnectionState.UNREAD, self._server.now + self._server.limits.write_timeout)
        self._charge()

    def resume_writing(self) -> None:
        self._unread = False
        self._enter(ConnectionState.PENDING, _NEVER)
        self._answer_waiting()
        self._charge()

    # Called by TLS in addition

    def accepted(self, raw: asyncio.BaseTransport, transport: Transport, *, encrypted: bool = False) -> None:
        """`raw` is the transport of the socket. Answers are written to `transport`."""
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_BUFFER)
        address = raw.get_extra_info("peername")
        peer = address[0] if isinstance(address, tuple) else ""
        self._parser = RequestParser(self._server.limits, peer)
        self._half_close = not encrypted
        self.state = ConnectionState.HANDSHAKE if encrypted else ConnectionState.REQUEST
        self.deadline = self._server.now + self._server.limits.request_timeout
        if not self._server.admit(self, peer):
            if encrypted:
                self._transport.abort()
            else:
                self._refuse(RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "there are too many connections"))

    def encrypting(self, overhead: int, *, established: bool = False) -> None:
        """Set the bytes that TLS takes. The deadline of the first request covers the handshake too."""
        self._overhead = overhead
        if established and self.state is ConnectionState.HANDSHAKE:
            self.state = ConnectionState.REQUEST
        self._charge()
        self.report_size()

    # Called by the server

    def expire(self) -> None:
        if self._held:
            self._server.send_answers()  # which changes the deadline
            if self._held:
                self._transport.abort()
            return
        self._server.count("timed_out", self.state.name.lower())
        if self._unread or self.state is ConnectionState.HANDSHAKE:
            self._transport.abort()
        elif self._parser.partial and not self._discarding:
            self._refuse(RequestRefused(HTTPStatus.REQUEST_TIMEOUT, "the request was not received in time"))
        elif self._transport.is_closing():
            self._transport.abort()
        else:
            self._close()

    def report_size(self) -> None:
        """Report the bytes that this connection takes now."""
        self._charged = self._bytes_used()
        self._server.charge(self, self._charged)

    def finish(self) -> None:
        """Answer requests that have begun, then close. If there are none, wait shortly for one that is on its way."""
        if self._task is None and not self._unread and not self._parser.partial:
            self.deadline = min(self.deadline, self._server.now + self._server.limits.closing)

    def evict(self) -> None:
        """Close, to make room for others. A task of this round of the event loop starts before it is cancelled."""
        self._discarding = True
        self._waiting.clear()
        asyncio.get_running_loop().call_soon(self.abort)

    def abort(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._transport.abort()

    def send_answers(self) -> None:
        """Send the answers that were held. Their audit lines have been written."""
        held, self._held, self._held_size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))
            self._go_on()

    # Answers

    def _answer_waiting(self) -> None:
        """Answer waiting requests until one needs I/O, the client does not read, or others have their turn."""
        waiting, held = self._waiting, self._held
        while (
            waiting
            and self._task is None
            and not self._unread
            and len(held) < _MAX_ANSWERS_PER_WRITE
            and self._held_size <= _MAX_BYTES_PER_WRITE
        ):
            self._answer(waiting.popleft())
        self._after_answers()

    def _answer(self, request: HttpRequest) -> None:
        answer = self._server.answer(request)
        if isinstance(answer, Answer):
            self._hold(request, answer)
        else:
            self._wait_for(request, answer)

    def _after_answers(self) -> None:
        if not self._held:
            self._go_on()
            return
        if self._waiting:
            self._pause()
        self._server.hold(self, self._held_size)

    def _hold(self, request: HttpRequest, answer: Answer) -> None:
        encoded = self._encoded(request, answer)
        self._held.append(encoded)
        self._held_size += len(encoded)

    def _go_on(self) -> None:
        """No answer is held: answer the next requests in the next turn, or wait for one."""
        if self._waiting or self._unread:
            self._pause()
            if self._waiting and self._task is None and not self._unread:
                asyncio.get_running_loop().call_soon(self._answer_waiting)
        elif self._task is None:
            self._on_all_answered()

    def _pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
        self._charge()

    def _on_all_answered(self) -> None:
        """No request is left to answer."""
        parser, server = self._parser, self._server
        if self._refused is not None:
            self._refuse(self._refused)
        elif self._discarding:
            self._close()
        else:
            # For every request, so without a call.
            self.since = server.now
            if parser.partial:
                self.state, self.deadline = ConnectionState.REQUEST, server.now + server.limits.request_timeout
            else:
                self.state, self.deadline = ConnectionState.IDLE, server.now + server.limits.keep_alive
            if server.stopping:
                self.finish()
            if parser.awaits_continue:
                self._continue()
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._charge()
            self._transport.resume_reading()

    def _close(self) -> None:
        """Close once the client has read its answers. The time for that is the same as for any answer."""
        self._enter(ConnectionState.CLOSING, self._server.now + self._server.limits.write_timeout)
        self._transport.close()

    def _charge(self) -> None:
        """Report more bytes at once, fewer at the next tick: most requests take as many as the last one."""
        used = self._bytes_used()
        if used > self._charged:
            self._charged = used
            self._server.charge(self, used)
        elif used < self._charged:
            self._server.overcharged.add(self)

    def _bytes_used(self) -> int:
        used = self._overhead + self._parser.bytes_used + self._task_size + self._held_size
        used += self._transport.get_write_buffer_size()
        if self._waiting:
            used += self._last_read + _WAITING_REQUEST_COST * len(self._waiting)
        return used

    def _enter(self, state: ConnectionState, deadline: float) -> None:
        self.state, self.since, self.deadline = state, self._server.now, deadline

    def _continue(self) -> None:
        """Send `100 Continue`, once all requests before this one are answered."""
        if self._task is not None or self._waiting or self._held or self._discarding:
            return
        self._parser.awaits_continue = False
        self._transport.write(CONTINUE)

    def _wait_for(self, request: HttpRequest, answer: Awaitable[Answer]) -> None:
        self._enter(ConnectionState.PENDING, _NEVER)
        self._task_size = _WAITING_REQUEST_COST + request_size(request) + len(request.body)
        self._task = asyncio.create_task(self._wait(request, answer), name="request")
        self._charge()

    async def _wait(self, request: HttpRequest, answer: Awaitable[Answer]) -> None:
        answered = await self._server.awaited(answer)
        self._task, self._task_size = None, 0
        if not self._transport.is_closing():
            self._hold(request, answered)
            self._answer_waiting()
            self._charge()

    def _encoded(self, request: HttpRequest, answer: Answer) -> bytes:
        server = self._server
        if not request.persists:
            self._discarding, self._refused = True, None
            self._waiting.clear()
        if (self._discarding or server.stopping) and not self._waiting and self._refused is None:
            connection, self._discarding = CLOSE, True
        else:
            connection = b"" if request.version == "1.1" else _KEEP_ALIVE
        return encode(answer, server.date, connection, head_only=request.method == "HEAD")

    def _refuse(self, refused: RequestRefused) -> None:
        """Send the last answer. Further bytes are read for a while: closing at once could discard the answer."""
        self._discarding, self._refused = True, None
        self._server.count("refused", str(int(refused.status)))
        answer = self._server.refuse(refused.status, refused.description)
        self._transport.write(encode(answer, self._server.date, CLOSE, head_only=False))
        self._transport.write_eof()
        self._enter(ConnectionState.CLOSING, self._server.now + self._server.limits.linger)
