"""Counters and histograms of the operator. Labels have few values, all present from the start.

Metrics of the current state are in `state_metrics`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily

from scopewright.api import KINDS
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.stores.kubernetes.answers import RESULTS
from scopewright.stores.kubernetes.api import METHODS

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
READY_LATENCY_BUCKETS: Final = (1, 2, 5, 10, 30, 60, 300, 1800, 7200, 86400, 172800)
FAILURES: Final = ("conflict", "unavailable", "rejected", "unexpected")


class OperatorMetrics:
    """The registry, and the metrics that are counted as things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        Gauge(
            "scopewright_build_info", "Always 1, with the running version as a label.", ("version",),
            registry=self.registry,
        ).labels(version("scopewright")).set(1)  # fmt: skip
        self.reconciled = Histogram(
            "scopewright_reconcile_seconds", "Duration of one reconciliation.", ("kind",),
            registry=self.registry, buckets=LATENCY_BUCKETS,
        )  # fmt: skip
        self.failed = Counter(
            "scopewright_reconcile_failures", "Reconciliations that failed and are retried.", ("kind", "reason"),
            registry=self.registry,
        )  # fmt: skip
        self.ready_latency = Histogram(
            "scopewright_apply_to_ready_seconds",
            "Time from the last change of a declared object until it is Ready, unless it needed a user's action.",
            ("kind",), registry=self.registry, buckets=READY_LATENCY_BUCKETS,
        )  # fmt: skip
        self.api_requests = Counter(
            "scopewright_api_requests", "Requests to the API server, without watches.", ("method", "result"),
            registry=self.registry,
        )  # fmt: skip
        self.api_latency = Histogram(
            "scopewright_api_request_seconds", "Time until the API server answered.", ("method",),
            registry=self.registry, buckets=LATENCY_BUCKETS,
        )  # fmt: skip
        self.retried = Counter(
            "scopewright_watch_retries", "Requests of the watches of declared objects that failed and were retried.",
            registry=self.registry,
        )  # fmt: skip
        for kind in KINDS:
            self.reconciled.labels(kind)
            self.ready_latency.labels(kind)
            for reason in FAILURES:
                self.failed.labels(kind, reason)
        for method in METHODS:
            self.api_latency.labels(method)
            for result in RESULTS:
                self.api_requests.labels(method, result)

    @contextmanager
    def reconciling(self, kind: str) -> Iterator[None]:
        try:
            with self.reconciled.labels(kind).time():
                yield
        except NotLeading:
            raise
        except Exception as error:
            self.failed.labels(kind, failure(error)).inc()
            raise

    def write_failed(self, kind: str, error: Exception) -> None:
        """Count a failed write for an object of this kind: its reconciliation continues, and the write is retried."""
        self.failed.labels(kind, failure(error)).inc()

    def api_answered(self, method: str, result: str, seconds: float) -> None:
        self.api_requests.labels(method, result).inc()
        self.api_latency.labels(method).observe(seconds)

    def became_ready(self, kind: str, seconds: float) -> None:
        self.ready_latency.labels(kind).observe(seconds)


def labelled_gauge(
    name: str, text: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:
    """`samples` are values of the labels, and the value of the gauge."""
    gauge = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        gauge.add_metric(values, value)
    return gauge


def failure(error: Exception) -> str:
    """One of `FAILURES`."""
    match error:
        case Conflict():
            return "conflict"
        case Unavailable():
            return "unavailable"
        case Rejected():
            return "rejected"
    return "unexpected"
