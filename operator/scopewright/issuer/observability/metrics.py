"""Prometheus metrics. Label values come from fixed lists, never from a caller.

A request increments three of the process's counters. The worker that is scraped sums those of all workers; records and
served keys are its own.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from typing import Final, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.issuer.observability import providers, user_metrics
from scopewright.issuer.protocol.errors import SLOWED, ErrorCode
from scopewright.issuer.protocol.responses import Answer
from scopewright.issuer.state.follow import KINDS
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.serving import connections
from scopewright.serving.counters import SharedCounters, WorkerCounters
from scopewright.serving.exposition import exposition

RESULTS: Final[Mapping[str, tuple[str, ...]]] = {
    "token": ("issued",),
    "introspection": ("active", "inactive"),
    "revocation": ("revoked", "nothing"),
    "userinfo": ("answered",),
    "par": ("pushed",),
}
"""Results of requests that are not refused, by endpoint."""

LastActivity = Callable[[str], float | None]

_REFUSALS: Final = (*get_args(ErrorCode), SLOWED)
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_BOUNDS: Final = [*map(str, _BUCKETS), "+Inf"]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Columns of an endpoint: one for each result and bucket, and the sum of the seconds."""

    results: Mapping[str, int]
    buckets: int
    sum: int
    known: Mapping[str, int]
    """For refusals of known clients."""


def _layout() -> tuple[Mapping[str, _Columns], int]:
    columns, end = {}, _FIRST
    for endpoint, results in RESULTS.items():
        named = {result: end + n for n, result in enumerate((*results, *_REFUSALS))}
        buckets = end + len(named)
        known = {result: buckets + len(_BOUNDS) + 1 + n for n, result in enumerate(_REFUSALS)}
        columns[endpoint] = _Columns(named, buckets, buckets + len(_BOUNDS), known)
        end = buckets + len(_BOUNDS) + 1 + len(known)
    return columns, end


_READY: Final = 0
_ACTIVITY: Final[Mapping[str, int]] = {kind: 1 + n for n, kind in enumerate(KINDS)}
_CONTACT: Final = 1 + len(KINDS)
_SHARES_SESSIONS: Final = _CONTACT + 1
"""1 if the session store is shared by all replicas, else -1; 0: there are no endpoints for users."""
_CONNECTIONS: Final = _SHARES_SESSIONS + 1
_PROVIDERS: Final = _CONNECTIONS + connections.COLUMNS
_USERS: Final = _PROVIDERS + providers.COLUMNS
_FIRST: Final = _USERS + user_metrics.COLUMNS
_COLUMNS, _COLUMN_COUNT = _layout()

UPDATE_INTERVAL_SECONDS: Final = 5.0
"""At which each process records its gauges."""


def shared_counters(workers: int) -> SharedCounters:
    return SharedCounters(_COLUMN_COUNT, workers)


class EndpointMetrics:
    """Counts the requests of one endpoint in one process."""

    def __init__(self, counters: WorkerCounters, columns: _Columns) -> None:
        self._cells = counters.cells
        self._columns = columns

    def count(self, result: str, seconds: float) -> None:
        cells, columns = self._cells, self._columns
        cells[columns.results[result]] += 1
        cells[columns.buckets + bisect_left(_BUCKETS, seconds)] += 1
        cells[columns.sum] += seconds

    def refused_known(self, result: str) -> None:
        """Count a refusal of a known client, in addition to `count`."""
        self._cells[self._columns.known[result]] += 1


class IssuerMetrics(Collector):
    """Of one worker; its counters are exported as the sums of all workers.

    `last_activity` returns when the watch of a kind last received something; `last_contact`, when the API server last
    answered. Both in seconds since the epoch, and only for a remote store.
    `shares_sessions` returns whether the other replicas have the same session store, if there are endpoints for users.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        counters: WorkerCounters | None = None,
        *,
        ready: Callable[[], bool] = lambda: True,
        last_activity: LastActivity | None = None,
        last_contact: Callable[[], float] | None = None,
        shares_sessions: Callable[[], bool] | None = None,
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._counters = counters or shared_counters(1).row()
        self.connections = connections.ConnectionMetrics(self._counters, _CONNECTIONS, "scopewright_issuer")
        self.providers = providers.ProviderMetrics(self._counters, _PROVIDERS, registry.providers, clock)
        self.users = user_metrics.UserMetrics(self._counters, _USERS)
        self._is_ready = ready
        self._last_activity = last_activity
        self._last_contact = last_contact
        self._shares_sessions = shares_sessions
        if last_activity:
            for column in _ACTIVITY.values():
                self._counters.cells[column] = clock()
        self._counters.cells[_READY] = 0

    @property
    def shared(self) -> bool:
        """Whether other processes read these counters, so that `run` is needed."""
        return self._counters.shared.rows > 1

    async def run(self) -> None:
        """Record the gauges at intervals. Those of a process that hangs stay as they were."""
        while True:
            self._update()
            await asyncio.sleep(UPDATE_INTERVAL_SECONDS)

    def _update(self) -> None:
        cells = self._counters.cells
        cells[_READY] = self._is_ready()
        self.connections.update()
        self.users.update()
        if self._last_activity is not None:
            for kind, column in _ACTIVITY.items():
                cells[column] = self._last_activity(kind) or cells[column]
        if self._last_contact is not None:
            cells[_CONTACT] = self._last_contact()
        if self._shares_sessions is not None:
            cells[_SHARES_SESSIONS] = 1 if self._shares_sessions() else -1

    def endpoint(self, name: str) -> EndpointMetrics:
        """`name` is a key of `RESULTS`. A request ends with one of its results, an OAuth error, or `slowed`."""
        return EndpointMetrics(self._counters, _COLUMNS[name])

    def answer(self) -> Answer:
        return exposition(self)

    def collect(self) -> Iterator[Metric]:
        self._update()
        totals = self._counters.shared.totals()
        requests = CounterMetricFamily(
            "scopewright_issuer_requests",
            "Requests of clients, by endpoint and result.",
            labels=["handler", "result"],
        )
        seconds = HistogramMetricFamily(
            "scopewright_issuer_request_seconds",
            "Duration of client requests.",
            labels=["handler"],
        )
        known = CounterMetricFamily(
            "scopewright_issuer_refusals_of_known_clients",
            "Refused requests that named a known client; another caller may have sent them.",
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
        yield from self.providers.collect()
        yield from self.users.collect()
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        registry = self._registry
        records = GaugeMetricFamily("scopewright_issuer_records", "Records in memory, by kind.", labels=["kind"])
        records.add_metric(["client"], len(registry.clients))
        records.add_metric(["resource_server"], len(registry.servers))
        records.add_metric(["signing_key"], len(registry.keys))
        yield records
        served = len(registry.keys.jwks(self._clock()).keys)
        yield GaugeMetricFamily("scopewright_issuer_served_keys", "Keys in the served JWKS.", served)
        yield from self._processes()

    def _processes(self) -> Iterator[Metric]:
        """Gauges of all workers."""
        ready = self._counters.shared.column(_READY)
        yield GaugeMetricFamily("scopewright_issuer_workers", "Configured worker processes.", len(ready))
        yield GaugeMetricFamily(
            "scopewright_issuer_ready_workers", "Worker processes that can issue tokens.", sum(ready)
        )
        activity = GaugeMetricFamily(
            "scopewright_issuer_watch_heard_timestamp_seconds",
            "When the watch of the records last received anything, also a bookmark: the earliest of all workers.",
            labels=["kind"],
        )
        for kind, column in _ACTIVITY.items():
            instants = [at for at in self._counters.shared.column(column) if at]
            if instants:
                activity.add_metric([kind], min(instants))
        yield activity
        contact = GaugeMetricFamily(
            "scopewright_issuer_api_server_last_contact_timestamp_seconds",
            "When the API server last answered, with any status: the earliest of all workers.",
        )
        if instants := [at for at in self._counters.shared.column(_CONTACT) if at]:
            contact.add_metric([], min(instants))
        yield contact
        if shared := [value for value in self._counters.shared.column(_SHARES_SESSIONS) if value]:
            yield GaugeMetricFamily(
                "scopewright_issuer_session_store_shared",
                "0 while users are refused, because another replica has another session store; 1 otherwise.",
                0 if min(shared) < 0 else 1,
            )
        build = GaugeMetricFamily(
            "scopewright_build_info", "Always 1, with the running version as a label.", labels=["version"]
        )
        build.add_metric([version("scopewright")], 1)
        yield build
