"""Limits failed authentications by address. Successful ones are not counted.

An attacker cannot lock a client out: credentials are checked before failures are counted, nothing is counted by client,
and an address over its budget gets "try again shortly" (503). An address has one budget for all client ids: a separate
budget for known ids would show which ids exist.
"""

from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.http import network_of
from scopewright.rate_budget import Clock, RateBudget, TokenBucket

FAILURE_BUDGET: Final = RateBudget(rate=20.0, burst=200)
"""Failed authentications. All callers behind a proxy that is not trusted share one budget."""
MAX_ADDRESSES: Final = 10_000


class FailureThrottle:
    def __init__(self, monotonic: Clock, *, budget: RateBudget = FAILURE_BUDGET, capacity: int = MAX_ADDRESSES) -> None:
        self._monotonic = monotonic
        self._budget = budget
        self._buckets = BoundedDict[str, TokenBucket](capacity)

    def is_exhausted(self, peer: str) -> bool:
        bucket = self._buckets.get(network_of(peer))
        return bucket is not None and bucket.level < 1

    def record_failure(self, peer: str) -> None:
        """Beyond `capacity` addresses, the one with the oldest failure is dropped."""
        network = network_of(peer)
        bucket = self._buckets.get(network) or TokenBucket(self._budget, self._monotonic)
        bucket.take()
        self._buckets[network] = bucket
