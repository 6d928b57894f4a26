"""Decides when to fetch the issuer's keys again. No I/O, no clock.

All times are seconds on one clock. `fetch` carries out the decisions.
"""

from scopewright.singleflight import RefreshDecision
from scopewright.verifier.discovery import Fetched
from scopewright.verifier.keyset import KeySet

COOLDOWN_SECONDS = 30.0
_REFRESH_FRACTION = 0.8  # of their lifetime: then new ones are fetched in the background
_BACK_OFF_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)


class KeyCache:
    """The keys, their age, and the failures since the last fetch."""

    def __init__(self, cooldown: float = COOLDOWN_SECONDS) -> None:
        self.keys: KeySet | None = None
        self.etag: str | None = None
        self.due = float("-inf")  # no fetch is needed before this instant
        self.retry_at = float("-inf")
        self.received_at = float("-inf")
        """When the issuer last sent the keys, or answered that they have not changed."""
        self._cooldown = cooldown
        self._stale_at = float("-inf")
        self.unknown_kid_at = float("-inf")
        """No fetch for an unknown kid before this instant."""
        self._failures = 0
        self._unknown_kid_failures = 0
        self._is_for_unknown_kid = False
        """Whether requests wait for the fetch in progress because of a kid."""

    @property
    def reachable(self) -> bool:
        """Whether the last fetch succeeded. If so, the issuer publishes no key that is not in the set."""
        return self._failures == 0

    def need(self, now: float) -> RefreshDecision:
        if now < self.due:
            return RefreshDecision.NOTHING
        if self.keys is None:
            return RefreshDecision.WAIT if now < self.retry_at else RefreshDecision.NOW
        # After an idle time keys may have been withdrawn: fetch first. If the issuer is unreachable: keep them.
        return RefreshDecision.NOW if self.reachable and now >= self._stale_at else RefreshDecision.SOON

    def fresh(self, now: float) -> KeySet | None:
        """The keys; None if a fetch is needed, before or beside their use."""
        return self.keys if self.need(now) is RefreshDecision.NOTHING else None

    def need_for_unknown_kid(self, now: float) -> RefreshDecision:
        """For a kid that is not in the set: one fetch, then a pause, so that invented kids cause no flood."""
        if now < self.unknown_kid_at:
            return RefreshDecision.NOTHING
        self.unknown_kid_at = now + self._cooldown
        self._is_for_unknown_kid = True
        return RefreshDecision.NOW

    def received(self, fetched: Fetched, now: float) -> None:
        if fetched.keys is not None:
            self.keys = fetched.keys
        self.etag = fetched.etag
        self._failures = self._unknown_kid_failures = 0
        self._is_for_unknown_kid = False
        self.received_at = now
        self.retry_at = float("-inf")
        self._stale_at = now + fetched.max_age
        self.due = now + fetched.max_age * _REFRESH_FRACTION

    def failed(self, now: float) -> None:
        self.retry_at = now + _back_off(self._failures)
        self._failures += 1
        if self._is_for_unknown_kid:
            # A back-off of its own: the first sign of an issuer that is back may be a token by a key that is new. It
            # grows, because requests wait for the fetch, and an issuer that does not answer would hold all of them.
            self.unknown_kid_at = now + _back_off(self._unknown_kid_failures)
            self._unknown_kid_failures += 1
            self._is_for_unknown_kid = False
        if self.keys is not None:
            self.due = max(self.due, self.retry_at)


def _back_off(failures: int) -> float:
    return _BACK_OFF_SECONDS[min(failures, len(_BACK_OFF_SECONDS) - 1)]
