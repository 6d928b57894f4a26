"""The interfaces of a connection, its server and its transport, so that their modules do not import each other."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from scopewright.http.budget import BudgetedConnection
from scopewright.http.limits import HttpLimits
from scopewright.http.messages import Answer, HttpRequest, Refuse
from scopewright.http.turns import AddressTurns

Count = Callable[[str, str], None]
"""Called with an event and its detail for each connection that the server closes: `refused` with the status (or `tls`);
`timed_out`, `evicted` (limit of the process) or `address_limit` with the connection's state.
"""


class Transport(Protocol):
    """The part of asyncio.Transport that a connection uses."""

    def write(self, data: bytes) -> None: ...
    def write_eof(self) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...
    def get_write_buffer_size(self) -> int: ...


class HostedConnection(BudgetedConnection, Protocol):
    """A connection, as its server sees it. `deadline`, on the loop's clock, is when the server calls `expire`."""

    deadline: float

    def expire(self) -> None: ...
    def report_size(self) -> None: ...
    def finish(self) -> None: ...
    def evict(self) -> None: ...
    def abort(self) -> None: ...
    def send_answers(self) -> None: ...


class ConnectionHost(Protocol):
    """A server, as its connections see it. The attributes are read for every request, so they are not properties."""

    now: float
    """On the loop's clock, as of the last tick."""
    date: bytes
    """The Date header line."""
    stopping: bool
    limits: HttpLimits
    buffer: memoryview
    """All connections read into it, and decrypt into it, one after the other."""
    overcharged: set[HostedConnection]
    """Connections that take fewer bytes than they are charged for. The next tick calls their `report_size`."""
    handshakes: AddressTurns
    count: Count
    refuse: Refuse

    def admit(self, connection: HostedConnection, peer: str) -> bool:
        """Whether there is room for it, possibly in place of others. It counts as open until `forget`."""

    def charge(self, connection: HostedConnection, size: int) -> None:
        """Record the bytes that the connection takes in addition to itself. Beyond a limit, connections are closed."""

    def forget(self, connection: HostedConnection) -> None: ...

    def hold(self, connection: HostedConnection, size: int) -> None:
        """Call the connection's `send_answers` once the audit lines of this turn are written, possibly now.

        `size`: bytes that it holds.
        """

    def send_answers(self) -> None:
        """Write the audit lines, then send all answers that are held."""

    def answer(self, http: HttpRequest) -> Answer | Awaitable[Answer]: ...

    async def awaited(self, answer: Awaitable[Answer]) -> Answer: ...
