"""When to fetch the keys of the issuer again, and what to do meanwhile. Pure decisions: no I/O, no clock.

All times are seconds on one clock. `remote` acts on what is decided here.
"""

from scopewright.singleflight import RefreshDecision
from scopewright.verifier.discovery import Fetched
from scopewright.verifier.keyset import KeySet

COOLDOWN = 30.0
_AHEAD = 0.8  # of their life: then fresh ones are fetched, while these go on serving
_BACK_OFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class KeyCache:
    """The keys, how old they are, and what went wrong last."""

    def __init__(self, cooldown: float = COOLDOWN) -> None:
        self.keys: KeySet | None = None
        self.etag: str | None = None
        self.due = float("-inf")  # before this instant, there is nothing to decide
        self.retry_at = float("-inf")
        self._cooldown = cooldown
        self._stale_at = float("-inf")
        self._unknown_kid_at = float("-inf")
        self._failures = 0

    @property
    def reachable(self) -> bool:
        """Whether the last attempt succeeded: what is not in the key set, the issuer does not publish."""
        return self._failures == 0

    def need(self, now: float) -> RefreshDecision:
        if now < self.due:
            return RefreshDecision.NOTHING
        if self.keys is None:
            return RefreshDecision.WAIT if now < self.retry_at else RefreshDecision.NOW
        # After an idle night the keys may be long withdrawn: ask first. While the issuer is away: go on with them.
        return RefreshDecision.NOW if self.reachable and now >= self._stale_at else RefreshDecision.SOON

    def need_for_unknown_kid(self, now: float) -> RefreshDecision:
        """A kid that is not in the set: one fetch, then a pause, so that made-up kids cause no flood."""
        if now < max(self._unknown_kid_at, self.retry_at):
            return RefreshDecision.NOTHING
        self._unknown_kid_at = now + self._cooldown
        return RefreshDecision.NOW

    def received(self, fetched: Fetched, now: float) -> None:
        if fetched.keys is not None:
            self.keys = fetched.keys
        self.etag = fetched.etag
        self._failures = 0
        self.retry_at = float("-inf")
        self._stale_at = now + fetched.max_age
        self.due = now + fetched.max_age * _AHEAD

    def failed(self, now: float) -> None:
        self.retry_at = now + _BACK_OFF[min(self._failures, len(_BACK_OFF) - 1)]
        self._failures += 1
        if self.keys is not None:
            self.due = max(self.due, self.retry_at)
