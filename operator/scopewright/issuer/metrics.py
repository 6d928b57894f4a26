"""What Prometheus is told. Labels come from fixed lists, never from a caller.

A token adds to three numbers of the process's row; whichever worker is scraped sums up the rows of all.
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.issuer.errors import ErrorCode
from scopewright.issuer.fresh import Clock
from scopewright.issuer.messages import Answer
from scopewright.issuer.registry import Registry
from scopewright.issuer.tally import Row, Tally

ISSUED: Final = "issued"
_RESULTS: Final = (ISSUED, *get_args(ErrorCode))
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_COLUMN: Final = {result: column for column, result in enumerate(_RESULTS)}
_FIRST_BUCKET: Final = len(_RESULTS)
_SUM: Final = _FIRST_BUCKET + len(_BUCKETS) + 1
COLUMNS: Final = _SUM + 1


def tally(workers: int) -> Tally:
    """For the metrics of so many processes."""
    return Tally(COLUMNS, workers)


class Metrics(Collector):
    """Of one issuer; of what it counts, the totals of all that share its tally."""

    def __init__(self, registry: Registry, clock: Clock, row: Row | None = None) -> None:
        self._registry = registry
        self._clock = clock
        self._row = row or tally(1).row()
        self._cells = self._row.cells

    def count(self, result: str, seconds: float) -> None:
        cells = self._cells
        cells[_COLUMN[result]] += 1
        cells[_FIRST_BUCKET + bisect_left(_BUCKETS, seconds)] += 1
        cells[_SUM] += seconds

    def answer(self) -> Answer:
        collectors = CollectorRegistry()
        collectors.register(self)
        headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()), (b"cache-control", b"no-store"))
        return Answer(200, headers, generate_latest(collectors))

    def collect(self) -> Iterator[Metric]:
        totals = self._row.tally.totals()
        tokens = CounterMetricFamily(
            "scopewright_issuer_tokens", "Token requests, by what became of them.", labels=["result"]
        )
        for result, column in _COLUMN.items():
            tokens.add_metric([result], totals[column])
        yield tokens
        seconds = HistogramMetricFamily(
            "scopewright_issuer_token_seconds", "How long the answer to a token request took."
        )
        bounds = [*map(str, _BUCKETS), "+Inf"]
        seconds.add_metric([], list(zip(bounds, accumulate(totals[_FIRST_BUCKET:_SUM]), strict=True)), totals[_SUM])
        yield seconds
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        registry = self._registry
        records = GaugeMetricFamily("scopewright_issuer_records", "Records in memory, by kind.", labels=["kind"])
        records.add_metric(["client"], registry.client_count)
        records.add_metric(["resource_server"], len(registry.servers))
        records.add_metric(["signing_key"], len(registry.keys))
        yield records
        served = GaugeMetricFamily("scopewright_issuer_served_keys", "Keys in the JWKS that is served.")
        served.add_metric([], len(registry.keys.jwks(self._clock()).keys))
        yield served
