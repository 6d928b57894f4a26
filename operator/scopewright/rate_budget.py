"""Rates: how many operations a second are allowed, counted in a token bucket."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""The current time in seconds: since the epoch, or monotonic."""


@dataclass(frozen=True, slots=True)
class RateBudget:
    """Operations a second (`rate`), and how many may follow a pause at once (`burst`)."""

    rate: float
    burst: int


class TokenBucket:
    """The operations that a budget still allows."""

    def __init__(self, budget: RateBudget, monotonic: Clock) -> None:
        self._budget = budget
        self._monotonic = monotonic
        self._level = float(budget.burst)
        self._updated = monotonic()

    @property
    def level(self) -> float:
        now = self._monotonic()
        self._level = min(self._budget.burst, self._level + (now - self._updated) * self._budget.rate)
        self._updated = now
        return self._level

    def take(self) -> bool:
        """Take one, if there is one."""
        if self.level < 1:
            return False
        self._level -= 1
        return True
