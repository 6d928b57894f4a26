"""Bounds of the pushed requests of one process, before and after a browser brings them.

A client that authenticates has a bound of its own: beyond 1,000 live requests it is refused. Anybody can push in the
name of a public client, so there each address has a rate, and a client with 1,000 live requests is not refused. Instead
the oldest request of the address with the most of them is withdrawn. A flood thus displaces its own requests, and an
application whose browser comes at once finds its request. A flood from 1,000 addresses would have to push from all of
them before the browser comes.

A request that a browser has brought is kept for eight times as long, and the browser needs no login for that. So
brought requests have a bound of their own, for every client: beyond it, the oldest one of the address that has brought
most is deleted.
"""

from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.http import network_of
from scopewright.issuer.state.entries import Client
from scopewright.issuer.users.pushed import KEPT_SECONDS, PUSHED_SECONDS
from scopewright.rate_budget import Clock, RateBudget, TokenBucket

MAX_LIVE: Final = 1_000
"""Requests of a client in the last 90 s, in one process."""
MAX_LIVE_OF_NAMESPACE: Final = 5_000
"""Requests of the public clients of a namespace, and as many of its other clients."""
ADDRESS_BUDGET: Final = RateBudget(rate=5.0, burst=100)
"""Requests of public clients. All callers behind a proxy that is not trusted share one budget."""
MAX_ADDRESSES: Final = 10_000
MAX_BROUGHT: Final = 2_000
"""Brought requests of a client whose logins have not ended, in one process."""
MAX_BROUGHT_OF_NAMESPACE: Final = 5_000


class TooManyPushed(Exception):
    """A bound is reached; there is room again in `retry_after` seconds."""

    def __init__(self, reason: str, retry_after: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Live:
    end: float
    client_id: str
    network: str


@dataclass(slots=True)
class _Share:
    """The live requests of the public clients of a namespace, or of its other ones, by handle; the oldest first."""

    live: OrderedDict[str, _Live] = field(default_factory=OrderedDict)
    of_network: dict[tuple[str, str], OrderedDict[str, None]] = field(default_factory=dict)
    """Handles by client and network."""
    of_client: Counter[str] = field(default_factory=Counter)

    def add(self, handle: str, live: _Live) -> None:
        self.live[handle] = live
        self.of_network.setdefault((live.client_id, live.network), OrderedDict())[handle] = None
        self.of_client[live.client_id] += 1

    def remove(self, handle: str) -> None:
        live = self.live.pop(handle, None)
        if live is None:
            return
        place = live.client_id, live.network
        del self.of_network[place][handle]
        if not self.of_network[place]:
            del self.of_network[place]
        self.of_client[live.client_id] -= 1
        if not self.of_client[live.client_id]:
            del self.of_client[live.client_id]

    def remove_ended(self, now: float) -> None:
        while self.live:
            handle, oldest = next(iter(self.live.items()))
            if oldest.end > now:
                return
            self.remove(handle)

    def displaced(self, client_id: str, of_client: int, of_namespace: int) -> str:
        """Remove and return the request that another one of the client displaces; empty: there is room."""
        handle = ""
        if self.of_client[client_id] >= of_client:
            handle = self.oldest_of_heaviest(client_id)
        elif len(self.live) >= of_namespace:
            handle = self.oldest_of_heaviest(self.of_client.most_common(1)[0][0])
        self.remove(handle)
        return handle

    def oldest_of_heaviest(self, client_id: str) -> str:
        """The oldest request of the address that has the most of the client."""
        handles = max((found for place, found in self.of_network.items() if place[0] == client_id), key=len)
        return next(iter(handles))


class PushBounds:
    """Of one process."""

    def __init__(self, monotonic: Clock) -> None:
        self._monotonic = monotonic
        self._shares: defaultdict[tuple[str, bool], _Share] = defaultdict(_Share)
        self._addresses = BoundedDict[str, TokenBucket](MAX_ADDRESSES)

    def require_room(self, client: Client, peer: str) -> None:
        """Raises TooManyPushed. Each request of a public client costs its address one of its budget."""
        share = self._share(client)
        if client.public:
            network = network_of(peer)
            bucket = self._addresses.get(network) or TokenBucket(ADDRESS_BUDGET, self._monotonic)
            self._addresses[network] = bucket
            if not bucket.take():
                raise TooManyPushed("too_many_of_address", 1.0)
        elif share.of_client[client.client_id] >= MAX_LIVE:
            mine = (live for live in share.live.values() if live.client_id == client.client_id)
            raise TooManyPushed("too_many_of_client", next(mine).end - self._monotonic())
        elif len(share.live) >= MAX_LIVE_OF_NAMESPACE:
            raise TooManyPushed("too_many_of_namespace", next(iter(share.live.values())).end - self._monotonic())

    def add(self, client: Client, peer: str, handle: str) -> str:
        """Count a request that is about to be stored. Return the handle of another one that it displaces, or nothing.

        `require_room` has admitted it; of requests that wait at the same time, some may be admitted too many.
        """
        share, displaced = self._share(client), ""
        if client.public:
            displaced = share.displaced(client.client_id, MAX_LIVE, MAX_LIVE_OF_NAMESPACE)
        network = network_of(peer) if client.public else ""
        share.add(handle, _Live(self._monotonic() + PUSHED_SECONDS, client.client_id, network))
        return displaced

    def remove(self, client: Client, handle: str) -> None:
        """A request that was not stored after all."""
        self._shares[client.namespace, client.public].remove(handle)

    def _share(self, client: Client) -> _Share:
        """Return the share of the client, without ended requests. A namespace with clients has at most two."""
        share = self._shares[client.namespace, client.public]
        share.remove_ended(self._monotonic())
        return share


class BroughtBounds:
    """Of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shares: defaultdict[str, _Share] = defaultdict(_Share)
        """By namespace."""

    def add(self, client: Client, peer: str, handle: str) -> str:
        """Count a request that a browser brings. Return the handle of another one that it displaces, or nothing."""
        share, now = self._shares[client.namespace], self._clock()
        share.remove_ended(now)
        if handle in share.live:
            return ""
        displaced = share.displaced(client.client_id, MAX_BROUGHT, MAX_BROUGHT_OF_NAMESPACE)
        share.add(handle, _Live(now + KEPT_SECONDS, client.client_id, network_of(peer)))
        return displaced

    def remove(self, client: Client, handle: str) -> None:
        """A request whose login has ended."""
        self._shares[client.namespace].remove(handle)
