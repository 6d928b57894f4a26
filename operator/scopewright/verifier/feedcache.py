"""Decides when to poll the revocation feed, and how long the last one stays usable. No I/O, no clock.

All times are seconds on one clock. `fetch` carries out the decisions.
"""

from dataclasses import dataclass

from scopewright.singleflight import RefreshDecision
from scopewright.verifier.discovery import FetchedFeed
from scopewright.verifier.revoked import Revoked

_IDLE_POLLS = 2.0  # after that many polls' time without use, the feed is fetched first


@dataclass(frozen=True, slots=True)
class RevocationFeed:
    """How to poll the revocation feed. `uri` defaults to the one in the issuer's metadata. `every` is the interval in
    seconds. `outage` is how many seconds the last feed is used while the issuer cannot be reached; after that `verify`
    raises `KeysUnavailable` (503). `math.inf`: no limit. The default is the default lifetime of a token: every token
    from before the outage has then expired. Raises ValueError for values out of range.
    """

    uri: str | None = None
    every: float = 5.0
    outage: float = 600.0

    def __post_init__(self) -> None:
        if not 1 <= self.every <= 300:
            raise ValueError("every must be between 1 and 300 seconds")
        if not self.outage >= self.every:
            raise ValueError("outage must not be shorter than the time between two polls")


def feed_of(argument: object) -> RevocationFeed | None:
    """The value of `revocations=`. Raises TypeError for any other than a bool or a `RevocationFeed`."""
    if argument is None or isinstance(argument, bool):
        return RevocationFeed() if argument else None
    if not isinstance(argument, RevocationFeed):
        raise TypeError(f"revocations= takes True, False, or a RevocationFeed, not {type(argument).__name__}")
    return argument


class FeedCache:
    """The last fetched feed. Without `feed`, nothing is polled and no token is revoked."""

    def __init__(self, feed: RevocationFeed | None) -> None:
        self.revoked: Revoked | None = None
        self.etag: str | None = None
        self.due = float("-inf") if feed else float("inf")  # no fetch is needed before this instant
        self.retry_at = float("-inf")
        self._feed = feed or RevocationFeed()
        self.received_at = float("-inf")
        """When the issuer last sent the feed, or answered that it has not changed."""
        self._reachable = True

    def need(self, now: float) -> RefreshDecision:
        if now < self.due:
            return RefreshDecision.NOTHING
        if not self.usable(now):
            return RefreshDecision.WAIT if now < self.retry_at else RefreshDecision.NOW
        # After an idle time tokens may have been revoked: fetch first. If the issuer is unreachable: use the last feed.
        idle = now >= self.received_at + _IDLE_POLLS * self._feed.every
        return RefreshDecision.NOW if self._reachable and idle else RefreshDecision.SOON

    def usable(self, now: float) -> bool:
        return self.revoked is not None and now < self.received_at + self._feed.outage

    def received(self, fetched: FetchedFeed, now: float) -> None:
        if fetched.revoked is not None:
            self.revoked = fetched.revoked
        self.etag = fetched.etag
        self.received_at = now
        self._reachable = True
        self.retry_at = float("-inf")
        self.due = now + self._feed.every

    def failed(self, now: float) -> None:
        self._reachable = False
        self.retry_at = now + self._feed.every
        self.due = min(self.retry_at, max(now, self.received_at + self._feed.outage))
