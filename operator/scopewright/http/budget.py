"""What all connections of a process take together, and which of them goes first. No I/O, no clock.

Each address has a share. Where an address goes beyond its own, its own connections are closed; where all together go
beyond the total, those of the addresses that have at least the average. So a caller that has few connections keeps
them, and new callers get in.
"""

import ipaddress
from collections import deque
from collections.abc import Collection, Iterable
from enum import IntEnum
from functools import lru_cache
from heapq import nsmallest
from typing import Final, Generic, Literal, Protocol, TypeVar

from scopewright.http.limits import CONNECTION_COST, HttpLimits

_IPV6_NETWORK: Final = 64
_REPLACED: Final = 64
"""Times that an address beyond its share may have its own connections closed between two ticks, for a new one or for
what one takes. Then its new connections are not even accepted: a flood that closes and opens connections would keep
the process busy with nothing else."""
_REPLACED_TOGETHER: Final = 128
"""The same of all addresses that use more than `_LIGHT` of the average, where the process has no more room."""
_LIGHT: Final = 0.75
"""Of the average. The addresses of a flood are all near the average, half of them below it."""
_AT_ONCE: Final = 256
"""Connections that are chosen for closing at one look at all of them."""

Scope = Literal["process", "address"]
"""Whose limit it is."""


class ConnectionState(IntEnum):
    """What a connection waits for."""

    CLOSING = 0
    """Its last answer is sent; what still comes is thrown away."""
    IDLE = 1
    """For the next request."""
    HANDSHAKE = 2
    """For the client's part of the TLS handshake."""
    REQUEST = 3
    """For the first request, or for the rest of one."""
    UNREAD = 4
    """For the client to read."""
    PENDING = 5
    """For an answer that is being made."""


_RANKS: Final = {
    ConnectionState.CLOSING: 0,
    ConnectionState.IDLE: 1,
    ConnectionState.HANDSHAKE: 2,
    ConnectionState.REQUEST: 2,
    ConnectionState.UNREAD: 2,
    ConnectionState.PENDING: 3,
}
"""Lower ones are closed first; within a rank, the one that has been in its state for longest."""
_NEWCOMERS_MAY_END: Final = 2
"""A new connection takes the place of none that is beyond this rank."""


class Member(Protocol):
    """A connection. `since` is when its state began, on any clock that grows."""

    state: ConnectionState
    since: float


M = TypeVar("M", bound=Member)


class _Account(Generic[M]):
    """Of one address, or of all. `candidates` are those that go first, as they were when they were last looked at."""

    def __init__(self) -> None:
        self.members: dict[M, int] = {}
        """With what each takes, in bytes."""
        self.used = 0
        self.replaced = 0
        """Times since the last tick that connections were closed for others."""
        self.candidates: deque[tuple[int, float, M]] = deque()

    def set(self, member: M, size: int) -> None:
        self.used += size - self.members.get(member, 0)
        self.members[member] = size

    def remove(self, member: M) -> None:
        self.used -= self.members.pop(member, 0)


class ConnectionBudget(Generic[M]):
    def __init__(self, limits: HttpLimits, newcomer: int = CONNECTION_COST) -> None:
        """`newcomer` is the bytes that a new connection is expected to take before its first request is complete."""
        self._newcomer = newcomer
        self._memory = limits.memory
        self._most = limits.most_connections
        per_peer = limits.connections_per_peer
        self._most_each = per_peer
        self._memory_each = None if per_peer is None else max(CONNECTION_COST, int(limits.memory * limits.share))
        self._all = _Account[M]()
        self._accounts: dict[str, _Account[M]] = {}
        self._addresses: dict[M, str] = {}

    @property
    def used(self) -> int:
        """Bytes that all members take."""
        return self._all.used

    def __contains__(self, member: M) -> bool:
        return member in self._addresses

    def admits(self, address: str) -> bool:
        """Whether a connection of this address may be added now. It always may where the address uses little."""
        account = self._accounts.get(network_of(address))
        if account is None:
            return True
        if self._is_full(account, self._most_each, self._memory_each):
            return account.replaced < _REPLACED
        if self._is_full(self._all, self._most, self._memory) and not self._is_light(account):
            return self._all.replaced < _REPLACED_TOGETHER
        return True

    def tick(self) -> None:
        """Some time has passed: those beyond their share may open connections again."""
        self._all.replaced = 0
        for account in self._accounts.values():
            account.replaced = 0

    def add(self, member: M, address: str) -> tuple[list[tuple[M, Scope]], Scope | None]:
        """Those to be closed for it; and whose limit it is that leaves no room for it all the same."""
        network = network_of(address)
        self._addresses[member] = network
        account = self._accounts.setdefault(network, _Account[M]())
        for each in (account, self._all):
            each.set(member, CONNECTION_COST)
        ended, full = self._shrink(account, {member}, _NEWCOMERS_MAY_END)
        self._count_replaced(account, ended)
        return ended, full

    def charge(self, member: M, size: int) -> list[tuple[M, Scope]]:
        """Record what a member takes beside its connection, in bytes; those to be closed for it, be it itself."""
        network = self._addresses.get(member)
        if network is None:
            return []
        account = self._accounts[network]
        for each in (account, self._all):
            each.set(member, CONNECTION_COST + size)
        ended, _ = self._shrink(account, (), max(_RANKS.values()))
        self._count_replaced(account, ended)
        return ended

    def remove(self, member: M) -> None:
        network = self._addresses.pop(member, None)
        if network is None:
            return
        self._all.remove(member)
        account = self._accounts[network]
        account.remove(member)
        if not account.members:
            del self._accounts[network]

    def _shrink(
        self, account: _Account[M], sparing: Collection[M], rank: int
    ) -> tuple[list[tuple[M, Scope]], Scope | None]:
        ended: list[tuple[M, Scope]] = []
        while self._is_beyond(account, self._most_each, self._memory_each):
            victim = self._next(account, account.members, sparing, rank)
            if victim is None:
                return ended, "address"
            self.remove(victim)
            ended.append((victim, "address"))
        while self._is_beyond(self._all, self._most, self._memory):
            victim = self._next(self._all, None, sparing, rank)
            if victim is None:
                return ended, "process"
            self.remove(victim)
            ended.append((victim, "process"))
        return ended, None

    def _count_replaced(self, account: _Account[M], ended: Collection[object]) -> None:
        if ended:
            account.replaced += 1
            self._all.replaced += not self._is_light(account)

    def _is_full(self, account: _Account[M], most: int | None, memory: int | None) -> bool:
        """Whether one connection more is too much."""
        return (most is not None and len(account.members) >= most) or (
            memory is not None and account.used + self._newcomer > memory
        )

    @staticmethod
    def _is_beyond(account: _Account[M], most: int | None, memory: int | None) -> bool:
        return (most is not None and len(account.members) > most) or (memory is not None and account.used > memory)

    def _next(self, account: _Account[M], members: Iterable[M] | None, sparing: Collection[M], rank: int) -> M | None:
        """Who goes first; all are looked at once for some of them, so that a flood does not cost a look for each."""
        for look in range(2):
            while account.candidates:
                was, since, member = account.candidates.popleft()
                unchanged = member in self._addresses and (_RANKS[member.state], member.since) == (was, since)
                if unchanged and was <= rank and member not in sparing:
                    return member
            if not look:
                among = self._of_heavy_accounts() if members is None else members
                ranked = ((_RANKS[m.state], m.since, m) for m in among if m not in sparing)
                count = max(1, min(_AT_ONCE, len(account.members) // 16))
                account.candidates.extend(nsmallest(count, ranked, key=lambda entry: entry[:2]))
        return None

    def _is_light(self, account: _Account[M]) -> bool:
        return account.used < _LIGHT * self._average()

    def _average(self) -> float:
        return self._all.used / max(1, len(self._accounts))

    def _of_heavy_accounts(self) -> Iterable[M]:
        average = self._average()
        return (m for account in self._accounts.values() if account.used >= average for m in account.members)


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """What one caller can have many addresses of counts as one: an IPv6 /64, unless it is IPv4 that is mapped there."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, _IPV6_NETWORK), strict=False))
