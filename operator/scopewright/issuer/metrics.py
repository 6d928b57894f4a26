"""What Prometheus is told. Labels come from fixed lists, never from a caller."""

from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from scopewright.issuer.errors import ErrorCode
from scopewright.issuer.fresh import Clock
from scopewright.issuer.messages import Answer
from scopewright.issuer.registry import Registry

ISSUED: Final = "issued"
_RESULTS: Final = (ISSUED, *get_args(ErrorCode))
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class _Records(Collector):
    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    def collect(self) -> Iterator[GaugeMetricFamily]:
        registry = self._registry
        records = GaugeMetricFamily("scopewright_issuer_records", "Records in memory, by kind.", labels=["kind"])
        records.add_metric(["client"], registry.client_count)
        records.add_metric(["resource_server"], len(registry.servers))
        records.add_metric(["signing_key"], len(registry.keys))
        yield records
        served = GaugeMetricFamily("scopewright_issuer_served_keys", "Keys in the JWKS that is served.")
        served.add_metric([], len(registry.keys.jwks(self._clock()).keys))
        yield served


class Metrics:
    """Of one issuer, in a registry of its own."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._collectors = CollectorRegistry()
        self._collectors.register(_Records(registry, clock))
        tokens = Counter(
            "scopewright_issuer_tokens",
            "Token requests, by what became of them.",
            ["result"],
            registry=self._collectors,
        )
        self._results = {result: tokens.labels(result) for result in _RESULTS}
        self._seconds = Histogram(
            "scopewright_issuer_token_seconds",
            "How long the answer to a token request took.",
            buckets=_BUCKETS,
            registry=self._collectors,
        )

    def count(self, result: str, seconds: float) -> None:
        self._results[result].inc()
        self._seconds.observe(seconds)

    def answer(self) -> Answer:
        headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()), (b"cache-control", b"no-store"))
        return Answer(200, headers, generate_latest(self._collectors))
