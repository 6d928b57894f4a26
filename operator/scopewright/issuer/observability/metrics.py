"""What Prometheus is told. Labels come from fixed lists, never from a caller.

A request adds to three numbers of the process's row; whichever worker is scraped sums up the rows of all. Records and
served keys are those of the worker that is scraped.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.issuer.observability import connections
from scopewright.issuer.protocol.errors import SLOWED, ErrorCode
from scopewright.issuer.protocol.responses import Answer
from scopewright.issuer.rate_budget import Clock
from scopewright.issuer.serving.counters import SharedCounters, WorkerCounters
from scopewright.issuer.state.follow import KINDS
from scopewright.issuer.state.registry import Registry

RESULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("issued",),
    "introspection": ("active", "inactive"),
    "revocation": ("revoked", "nothing"),
}
"""What may become of a request that is not refused, by endpoint."""

Heard = Callable[[str], float | None]

_REFUSALS: Final = (*get_args(ErrorCode), SLOWED)
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BOUNDS: Final = [*map(str, _BUCKETS), "+Inf"]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where in a row an endpoint counts: a cell for each result, one for each bucket, and the sum of the seconds."""

    results: Mapping[str, int]
    buckets: int
    sum: int
    known: Mapping[str, int]
    """Of the refusals, those of clients that are on record."""


def _laid_out() -> tuple[Mapping[str, _Columns], int]:
    columns, end = {}, _FIRST
    for endpoint, results in RESULTS.items():
        named = {result: end + n for n, result in enumerate((*results, *_REFUSALS))}
        buckets = end + len(named)
        known = {result: buckets + len(_BOUNDS) + 1 + n for n, result in enumerate(_REFUSALS)}
        columns[endpoint] = _Columns(named, buckets, buckets + len(_BOUNDS), known)
        end = buckets + len(_BOUNDS) + 1 + len(known)
    return columns, end


_READY: Final = 0
_HEARD: Final[Mapping[str, int]] = {kind: 1 + n for n, kind in enumerate(KINDS)}
_CONTACT: Final = 1 + len(KINDS)
_CONNECTIONS: Final = _CONTACT + 1
_FIRST: Final = _CONNECTIONS + connections.WIDTH
_COLUMNS, _WIDTH = _laid_out()

EVERY: Final = 5.0
"""Seconds after which each process tells again how it is."""


def shared_counters(workers: int) -> SharedCounters:
    """For the metrics of so many processes."""
    return SharedCounters(_WIDTH, workers)


class EndpointMetrics:
    """What one process counts of one endpoint."""

    def __init__(self, row: WorkerCounters, columns: _Columns) -> None:
        self._cells = row.cells
        self._results = columns.results
        self._buckets = columns.buckets
        self._sum = columns.sum
        self._known = columns.known

    def count(self, result: str, seconds: float) -> None:
        cells = self._cells
        cells[self._results[result]] += 1
        cells[self._buckets + bisect_left(_BUCKETS, seconds)] += 1
        cells[self._sum] += seconds

    def refused_known(self, result: str) -> None:
        """A refusal, counted already, was of a client that is on record."""
        self._cells[self._known[result]] += 1


class IssuerMetrics(Collector):
    """Of one issuer; of what it counts, the totals of all that share its tally.

    `heard` gives when the store last answered, by kind, where it is one that can be away (`stores.Listener`);
    `last_contact` when the API server behind it last answered, in seconds since the epoch.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        row: WorkerCounters | None = None,
        *,
        ready: Callable[[], bool] = lambda: True,
        heard: Heard | None = None,
        last_contact: Callable[[], float] | None = None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._row = row or shared_counters(1).row()
        self.connections = connections.ConnectionMetrics(self._row, _CONNECTIONS)
        self._is_ready = ready
        self._heard = heard
        self._last_contact = last_contact
        if heard:
            for column in _HEARD.values():
                self._row.cells[column] = clock()
        self._row.cells[_READY] = 0

    @property
    def shared(self) -> bool:
        """Whether there are other processes to `run` for."""
        return self._row.tally.rows > 1

    async def run(self) -> None:
        """Tell the other processes how this one is, for ever: one that hangs is then seen by what it told last."""
        while True:
            self._tell()
            await asyncio.sleep(EVERY)

    def _tell(self) -> None:
        cells = self._row.cells
        cells[_READY] = self._is_ready()
        self.connections.look()
        for kind, column in _HEARD.items() if self._heard else ():
            cells[column] = (self._heard and self._heard(kind)) or cells[column]
        if self._last_contact is not None:
            cells[_CONTACT] = self._last_contact()

    def endpoint(self, name: str) -> EndpointMetrics:
        """Of one of `RESULTS`, whose requests end in one of its results, in an error of OAuth, or `slowed`."""
        return EndpointMetrics(self._row, _COLUMNS[name])

    def answer(self) -> Answer:
        collectors = CollectorRegistry()
        collectors.register(self)
        headers = ((b"content-type", CONTENT_TYPE_LATEST.encode()), (b"cache-control", b"no-store"))
        return Answer(200, headers, generate_latest(collectors))

    def collect(self) -> Iterator[Metric]:
        self._tell()
        totals = self._row.tally.totals()
        requests = CounterMetricFamily(
            "scopewright_issuer_requests",
            "Requests of clients, by endpoint and by what became of them.",
            labels=["handler", "result"],
        )
        seconds = HistogramMetricFamily(
            "scopewright_issuer_request_seconds",
            "How long the answer to a client's request took.",
            labels=["handler"],
        )
        known = CounterMetricFamily(
            "scopewright_issuer_refusals_of_known_clients",
            "Of those requests, the refused ones that named a client on record, whoever sent them.",
            labels=["handler", "result"],
        )
        for endpoint, columns in _COLUMNS.items():
            for result, column in columns.results.items():
                requests.add_metric([endpoint, result], totals[column])
            counts = accumulate(totals[columns.buckets : columns.sum])
            for result, column in columns.known.items():
                known.add_metric([endpoint, result], totals[column])
            seconds.add_metric([endpoint], list(zip(_BOUNDS, counts, strict=True)), totals[columns.sum])
        yield requests
        yield known
        yield seconds
        yield from self.connections.collect()
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
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """How all that share the tally are."""
        ready = self._row.tally.column(_READY)
        yield GaugeMetricFamily("scopewright_issuer_workers", "Processes that are meant to serve.", len(ready))
        yield GaugeMetricFamily(
            "scopewright_issuer_ready_workers", "Those of them that have all that tokens need.", sum(ready)
        )
        heard = GaugeMetricFamily(
            "scopewright_issuer_watch_heard_timestamp_seconds",
            "When the watch of the records last brought anything, be it a bookmark, to the process that waits longest.",
            labels=["kind"],
        )
        for kind, column in _HEARD.items():
            instants = [at for at in self._row.tally.column(column) if at]
            if instants:
                heard.add_metric([kind], min(instants))
        yield heard
        contact = GaugeMetricFamily(
            "scopewright_issuer_api_server_last_contact_timestamp_seconds",
            "When the API server last answered, whatever the answer was, to the process that waits longest.",
        )
        if instants := [at for at in self._row.tally.column(_CONTACT) if at]:
            contact.add_metric([], min(instants))
        yield contact
        build = GaugeMetricFamily("scopewright_build_info", "1, with the version that runs.", labels=["version"])
        build.add_metric([version("scopewright")], 1)
        yield build
