"""Objects that fail for the same cause, so that the first one that recovers can trigger retries of others."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from scopewright.core.failed_writes import FailedWrite
from scopewright.core.objects import Ref

SHARED: Final = frozenset({"WebhookUnavailable", "Unreachable", "ServerError", "TooManyRequests", "Unavailable"})
"""Reasons of failures with one cause for all namespaces; a refusal has its cause in one namespace."""

Cause = tuple[str, str]
"""A namespace in which writes fail, or a shared reason."""


def causes(failed_writes: Iterable[FailedWrite]) -> frozenset[Cause]:
    failed_writes = tuple(failed_writes)
    where = {("namespace", s.ref.namespace) for s in failed_writes}
    return frozenset(where | {("reason", s.reason) for s in failed_writes if s.reason in SHARED})


class WaitingObjects:
    """Failing objects by cause, in the order in which they were last woken."""

    def __init__(self) -> None:
        self._by_cause: defaultdict[Cause, dict[Ref, None]] = defaultdict(dict)
        self._causes: dict[Ref, frozenset[Cause]] = {}

    def clear(self) -> None:
        self._by_cause.clear()
        self._causes.clear()

    def put(self, key: Ref, of: frozenset[Cause]) -> None:
        """Set the causes of an object; none if no write of it fails."""
        before = self._causes.pop(key, frozenset())
        for cause in before - of:
            del self._by_cause[cause][key]
            if not self._by_cause[cause]:
                del self._by_cause[cause]
        for cause in of - before:
            self._by_cause[cause][key] = None
        if of:
            self._causes[key] = of

    def woken(self, key: Ref) -> None:
        """Move the object behind the others."""
        for cause in self._causes.get(key, ()):
            self._by_cause[cause][key] = self._by_cause[cause].pop(key)

    def longest(self, of: Iterable[Cause], most: int) -> list[Ref]:
        """The objects that have waited longest, at most `most` for each of the causes."""
        found = (islice(self._by_cause.get(cause, ()), most) for cause in sorted(of))
        return list(dict.fromkeys(key for keys in found for key in keys))
