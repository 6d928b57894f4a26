"""When to poll the revocation feed, and for how long to go on without it. Pure decisions: no I/O, no clock.

All times are seconds on one clock. `remote` acts on what is decided here.
"""

from dataclasses import dataclass

from scopewright.singleflight import RefreshDecision
from scopewright.verifier.discovery import FetchedFeed
from scopewright.verifier.revoked import Revoked

_IDLE = 2.0  # polls: a feed that nobody has asked for that long is asked first


@dataclass(frozen=True, slots=True)
class RevocationFeed:
    """Where the feed is (left out: found through the issuer's metadata), how often it is polled, and for how many
    seconds the service goes on with the last one while the issuer is away; then it answers 503. `math.inf`: for ever.
    The default is as long as a token lives by default: what was revoked when the issuer went away has then expired.
    """

    uri: str | None = None
    every: float = 5.0
    outage: float = 600.0

    def __post_init__(self) -> None:
        if not 1 <= self.every <= 300:
            raise ValueError("every must be between 1 and 300 seconds")
        if not self.outage >= self.every:
            raise ValueError("outage must not be shorter than the time between two polls")


class FeedCache:
    """The feed as last seen; without a `feed` to poll, nothing is ever revoked and there is nothing to decide."""

    def __init__(self, feed: RevocationFeed | None) -> None:
        self.revoked: Revoked | None = None
        self.etag: str | None = None
        self.due = float("-inf") if feed else float("inf")  # before this instant, there is nothing to decide
        self.retry_at = float("-inf")
        self._feed = feed or RevocationFeed()
        self._received_at = float("-inf")
        self._reachable = True

    def need(self, now: float) -> RefreshDecision:
        if now < self.due:
            return RefreshDecision.NOTHING
        if not self.usable(now):
            return RefreshDecision.WAIT if now < self.retry_at else RefreshDecision.NOW
        # After an idle night much may have been revoked: ask first. While the issuer is away: go on.
        idle = now >= self._received_at + _IDLE * self._feed.every
        return RefreshDecision.NOW if self._reachable and idle else RefreshDecision.SOON

    def usable(self, now: float) -> bool:
        return self.revoked is not None and now < self._received_at + self._feed.outage

    def received(self, fetched: FetchedFeed, now: float) -> None:
        if fetched.revoked is not None:
            self.revoked = fetched.revoked
        self.etag = fetched.etag
        self._received_at = now
        self._reachable = True
        self.retry_at = float("-inf")
        self.due = now + self._feed.every

    def failed(self, now: float) -> None:
        self._reachable = False
        self.retry_at = now + self._feed.every
        self.due = min(self.retry_at, max(now, self._received_at + self._feed.outage))
