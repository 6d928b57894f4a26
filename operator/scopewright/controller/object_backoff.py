"""Pauses between attempts after failures: growing, with jitter, and longer while many objects fail."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

from scopewright.core.objects import Ref

FIRST_PAUSE_SECONDS: Final = 0.2
"""Seconds before the second attempt; the pause doubles with each failure."""
USUAL_LIMIT_SECONDS: Final = 10.0
"""Seconds: the longest pause while few objects fail, so that they recover within 15 seconds of the cause's end."""
MAX_PAUSE_SECONDS: Final = 300.0
"""Seconds: the longest pause, regardless of how many fail."""
ATTEMPTS_PER_SECOND: Final = 10.0
"""Attempts a second at most, over all objects whose pauses have grown."""
JITTER: Final = 0.25
"""The share of a pause by which it is longer or shorter at random."""

Random = Callable[[], float]
"""Returns a number between 0 and 1."""


class ObjectBackoff:
    """Counts the failures of each object; a success resets the count."""

    def __init__(self, source: Random | None = None, longest: float | None = None) -> None:
        """`source` defaults to `random.random`; `longest` is in seconds."""
        self._random = source or random.random
        self._longest = MAX_PAUSE_SECONDS if longest is None else longest
        self._failures: dict[Ref, int] = {}
        self._failing_in: Counter[str] = Counter()
        """The number of failing objects, by namespace."""

    def failed(self, key: Ref, at_least: float = 0.0) -> float:
        """Seconds until the next attempt; `at_least` is the server's `Retry-After`."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._failing_in[key.namespace] += not failures
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 20), self.limit(key.namespace))
        jitter = 1 + JITTER * (2 * self._random() - 1)
        return max(pause * jitter, min(at_least, self._longest))

    def succeeded(self, key: Ref) -> None:
        if self._failures.pop(key, None) is None:
            return
        self._failing_in[key.namespace] -= 1
        if not self._failing_in[key.namespace]:
            del self._failing_in[key.namespace]

    def failing(self, times: int = 3) -> frozenset[Ref]:
        """The objects that have failed at least so many times in a row."""
        return frozenset(key for key, failures in self._failures.items() if failures >= times)

    def clear(self) -> None:
        self._failures.clear()
        self._failing_in.clear()

    def limit(self, namespace: str) -> float:
        """The longest pause in seconds for an object of this namespace, with the failures as they are now. Namespaces
        have equal shares of the attempts: thousands of failures in one do not delay another.
        """
        share = ATTEMPTS_PER_SECOND / max(len(self._failing_in), 1)
        return min(max(USUAL_LIMIT_SECONDS, self._failing_in[namespace] / share), self._longest)
