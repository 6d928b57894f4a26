"""Limits on connections and their memory, and which connections are closed first. No I/O, no clock.

Each address has a share. If an address exceeds its share, its own connections are closed. If the process exceeds its
total, connections of addresses at or above the average are closed. So a caller with few connections keeps them, and new
callers get in.
"""

import ipaddress
from collections import deque
from collections.abc import Collection, Iterable
from enum import IntEnum
from functools import lru_cache
from heapq import nsmallest
from typing import Final, Generic, Literal, Protocol, TypeVar

from scopewright.http.limits import CONNECTION_COST, HttpLimits

_IPV6_PREFIX_LENGTH: Final = 64
_MAX_REPLACED: Final = 64
"""How often between two ticks an address at its limit may have its own connections closed for new ones or for more
memory. After that its new connections are refused at accept: otherwise a flood that closes and opens connections would
keep the process busy."""
_MAX_REPLACED_TOGETHER: Final = 128
"""The same, for all addresses together that use more than `_LIGHT` of the average, if the process is at its limit."""
_LIGHT: Final = 0.75
"""Fraction of the average. The addresses of a flood are all near the average, half of them below it."""
_MAX_CANDIDATES: Final = 256
"""Connections that one scan of all of them selects for closing."""

Scope = Literal["process", "address"]
"""Which limit was exceeded."""


class ConnectionState(IntEnum):
    """What a connection waits for."""

    CLOSING = 0
    """Its last answer was sent. Further bytes are discarded."""
    IDLE = 1
    """For the next request."""
    HANDSHAKE = 2
    """For the client's part of the TLS handshake."""
    REQUEST = 3
    """For the first request, or for the rest of one."""
    UNREAD = 4
    """For the client to read."""
    PENDING = 5
    """For an answer that is not ready yet."""


_RANKS: Final = {
    ConnectionState.CLOSING: 0,
    ConnectionState.IDLE: 1,
    ConnectionState.HANDSHAKE: 2,
    ConnectionState.REQUEST: 2,
    ConnectionState.UNREAD: 2,
    ConnectionState.PENDING: 3,
}
"""Lower ones are closed first; within a rank, the one that has been in its state for longest."""
_NEW_CONNECTION_MAX_RANK: Final = 2
"""A new connection replaces only connections of at most this rank."""


class BudgetedConnection(Protocol):
    """A connection. `since` is when its state began, on any monotonic clock."""

    state: ConnectionState
    since: float


C = TypeVar("C", bound=BudgetedConnection)


class _Account(Generic[C]):
    """The connections of one address, or of all addresses. `candidates` are the next to close, with the rank and time
    of the last scan.
    """

    def __init__(self, max_connections: int | None, max_memory: int | None) -> None:
        self._max_connections = max_connections
        self._max_memory = max_memory
        self.sizes: dict[C, int] = {}
        """Bytes that each takes."""
        self.used = 0
        self.replaced = 0
        """How often connections were closed for others since the last tick."""
        self.candidates: deque[tuple[int, float, C]] = deque()

    def set(self, connection: C, size: int) -> None:
        self.used += size - self.sizes.get(connection, 0)
        self.sizes[connection] = size

    def remove(self, connection: C) -> None:
        self.used -= self.sizes.pop(connection, 0)

    def exceeds_limits(self, more_connections: int = 0, more_bytes: int = 0) -> bool:
        return (self._max_connections is not None and len(self.sizes) + more_connections > self._max_connections) or (
            self._max_memory is not None and self.used + more_bytes > self._max_memory
        )


class ConnectionBudget(Generic[C]):
    def __init__(self, limits: HttpLimits, new_connection_cost: int = CONNECTION_COST) -> None:
        """`new_connection_cost`: bytes that a new connection likely takes before its first request is complete."""
        self._new_connection_cost = new_connection_cost
        per_peer = limits.connections_per_peer
        memory = None if per_peer is None else max(CONNECTION_COST, int(limits.memory * limits.share))
        self._address_limits = (per_peer, memory)
        self._all = _Account[C](limits.most_connections, limits.memory)
        self._accounts: dict[str, _Account[C]] = {}
        self._addresses: dict[C, str] = {}

    @property
    def used(self) -> int:
        """Bytes that all connections take."""
        return self._all.used

    def __contains__(self, connection: C) -> bool:
        return connection in self._addresses

    def admits(self, address: str) -> bool:
        """Whether a connection of this address may be added now. Always true for an address that uses little."""
        account = self._accounts.get(network_of(address))
        if account is None:
            return True
        if account.exceeds_limits(1, self._new_connection_cost):
            return account.replaced < _MAX_REPLACED
        if self._all.exceeds_limits(1, self._new_connection_cost) and not self._is_light(account):
            return self._all.replaced < _MAX_REPLACED_TOGETHER
        return True

    def tick(self) -> None:
        """Allow addresses beyond their share to open connections again. Call it at regular intervals."""
        self._all.replaced = 0
        for account in self._accounts.values():
            account.replaced = 0

    def add(self, connection: C, address: str) -> tuple[list[tuple[C, Scope]], Scope | None]:
        """The connections to close for it, and the limit that it exceeds nevertheless, if any."""
        network = network_of(address)
        self._addresses[connection] = network
        account = self._accounts.setdefault(network, _Account[C](*self._address_limits))
        for each in (account, self._all):
            each.set(connection, CONNECTION_COST)
        ended, full = self._shrink(account, {connection}, _NEW_CONNECTION_MAX_RANK)
        self._count_replaced(account, ended)
        return ended, full

    def charge(self, connection: C, size: int) -> list[tuple[C, Scope]]:
        """Record the bytes that a connection takes beyond `CONNECTION_COST`. Return those to close, perhaps itself."""
        network = self._addresses.get(connection)
        if network is None:
            return []
        account = self._accounts[network]
        for each in (account, self._all):
            each.set(connection, CONNECTION_COST + size)
        ended, _ = self._shrink(account, (), max(_RANKS.values()))
        self._count_replaced(account, ended)
        return ended

    def remove(self, connection: C) -> None:
        network = self._addresses.pop(connection, None)
        if network is None:
            return
        self._all.remove(connection)
        account = self._accounts[network]
        account.remove(connection)
        if not account.sizes:
            del self._accounts[network]

    def _shrink(
        self, account: _Account[C], sparing: Collection[C], rank: int
    ) -> tuple[list[tuple[C, Scope]], Scope | None]:
        ended: list[tuple[C, Scope]] = []
        while account.exceeds_limits():
            victim = self._next(account, account.sizes, sparing, rank)
            if victim is None:
                return ended, "address"
            self.remove(victim)
            ended.append((victim, "address"))
        while self._all.exceeds_limits():
            victim = self._next(self._all, None, sparing, rank)
            if victim is None:
                return ended, "process"
            self.remove(victim)
            ended.append((victim, "process"))
        return ended, None

    def _count_replaced(self, account: _Account[C], ended: Collection[object]) -> None:
        if ended:
            account.replaced += 1
            self._all.replaced += not self._is_light(account)

    def _next(self, account: _Account[C], among: Iterable[C] | None, sparing: Collection[C], rank: int) -> C | None:
        """The next to close. One scan selects several, so that a flood does not cost a scan for each."""
        for scan in range(2):
            while account.candidates:
                was, since, candidate = account.candidates.popleft()
                unchanged = candidate in self._addresses and (_RANKS[candidate.state], candidate.since) == (was, since)
                if unchanged and was <= rank and candidate not in sparing:
                    return candidate
            if not scan:
                scanned = self._of_heavy_accounts() if among is None else among
                ranked = ((_RANKS[c.state], c.since, c) for c in scanned if c not in sparing)
                count = max(1, min(_MAX_CANDIDATES, len(account.sizes) // 16))
                account.candidates.extend(nsmallest(count, ranked, key=lambda entry: entry[:2]))
        return None

    def _is_light(self, account: _Account[C]) -> bool:
        return account.used < _LIGHT * self._average()

    def _average(self) -> float:
        return self._all.used / max(1, len(self._accounts))

    def _of_heavy_accounts(self) -> Iterable[C]:
        average = self._average()
        return (c for account in self._accounts.values() if account.used >= average for c in account.sizes)


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """The address, or the /64 of an IPv6 address, because one caller has many of those. IPv4-mapped ones are IPv4."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, _IPV6_PREFIX_LENGTH), strict=False))
