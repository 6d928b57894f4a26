"""What Prometheus is told. Labels come from fixed lists, never from a caller."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

from scopewright.issuer.errors import ErrorCode
from scopewright.issuer.fresh import Clock
from scopewright.issuer.messages import Answer
from scopewright.issuer.registry import Registry

_REFUSALS: Final = get_args(ErrorCode)
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


class EndpointMetrics:
    def __init__(self, results: Mapping[str, Counter], seconds: Histogram) -> None:
        self._results = results
        self._seconds = seconds

    def count(self, result: str, seconds: float) -> None:
        self._results[result].inc()
        self._seconds.observe(seconds)


class Metrics:
    """Of one issuer, in a registry of its own."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._collectors = CollectorRegistry()
        self._collectors.register(_Records(registry, clock))
        self._requests = Counter(
            "scopewright_issuer_requests",
            "Requests of clients, by endpoint and by what became of them.",
            ["endpoint", "result"],
            registry=self._collectors,
        )
        self._seconds = Histogram(
            "scopewright_issuer_request_seconds",
            "How long the answer to a client's request took.",
            ["endpoint"],
            buckets=_BUCKETS,
            registry=self._collectors,
        )

    def endpoint(self, name: str, results: Iterable[str]) -> EndpointMetrics:
        """Of one endpoint, whose requests end in one of `results` or in an error of OAuth."""
        counters = {result: self._requests.labels(name, result) for result in (*results, *_REFUSALS)}
        return EndpointMetrics(counters, self._seconds.labels(name))

    def answer(self) -> Answer:
        headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()), (b"cache-control", b"no-store"))
        return Answer(200, headers, generate_latest(self._collectors))
