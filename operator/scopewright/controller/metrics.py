"""What the operator measures; every label has a handful of values."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry a process, so that tests can have several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciled = Histogram(
            "scopewright_reconcile_seconds", "Time to reconcile one object.", ("kind",),
            registry=self.registry, buckets=BUCKETS,
        )  # fmt: skip
        self.failed = Counter(
            "scopewright_reconcile_failures", "Reconciliations to be tried again.", ("kind",), registry=self.registry
        )

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when it is scraped."""
        Gauge(name, text, registry=self.registry).set_function(value)

    @contextmanager
    def reconciling(self, kind: str) -> Iterator[None]:
        with self.reconciled.labels(kind).time(), self.failed.labels(kind).count_exceptions():
            yield
