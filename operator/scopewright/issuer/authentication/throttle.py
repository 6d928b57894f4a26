"""Who fails too often waits: failures are counted by address, and what is right is never counted.

A victim cannot be shut out by it: a right credential is compared before anything is counted, nothing is counted by
client, and the answer to an address that has failed too often is "try again later" (503), not "wrong". An address has
one budget for all client ids: a budget of its own for known ids would show which ids exist.
"""

from typing import Final

from scopewright.http import network_of
from scopewright.issuer.rate_budget import Clock, RateBudget, TokenBucket

FAILURE_BUDGET: Final = RateBudget(rate=20.0, burst=200)
"""Failed authentications; those behind a proxy that is not trusted to tell them apart share one budget."""
MAX_ADDRESSES: Final = 10_000


class FailureThrottle:
    def __init__(self, monotonic: Clock, *, budget: RateBudget = FAILURE_BUDGET, capacity: int = MAX_ADDRESSES) -> None:
        self._monotonic = monotonic
        self._budget = budget
        self._capacity = capacity
        self._buckets: dict[str, TokenBucket] = {}

    def spent(self, peer: str) -> bool:
        """Whether this address has used up its failures."""
        bucket = self._buckets.get(network_of(peer))
        return bucket is not None and bucket.level < 1

    def failed(self, peer: str) -> None:
        """One more; the address that failed longest ago is forgotten where there are too many."""
        network = network_of(peer)
        bucket = self._buckets.pop(network, None) or TokenBucket(self._budget, self._monotonic)
        bucket.take()
        self._buckets[network] = bucket
        if len(self._buckets) > self._capacity:
            del self._buckets[next(iter(self._buckets))]
