"""Prometheus metrics of the gateway. Label values are names of APIs and rules, and fixed words; never a caller's.

The worker that is scraped exports the sums of all workers.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scopewright.gateway.decide import Decision, Result
from scopewright.http import Answer
from scopewright.serving import connections
from scopewright.serving.columns import CounterColumns, GaugeColumns, HistogramColumns
from scopewright.serving.counters import SharedCounters, WorkerCounters
from scopewright.serving.exposition import exposition
from scopewright.serving.series import Labels, SeriesRow, SharedSeries

UPDATE_INTERVAL_SECONDS: Final = 5.0
"""At which each process records its gauges."""
_BOUNDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_LABELS: Final = ("api_namespace", "api", "rule", "result", "reason")
_RESULTS: Final = tuple(result.value for result in Result)

_SECONDS: Final = HistogramColumns(
    0,
    "scopewright_gateway_decision_seconds",
    "Duration of decisions. One about a token that was verified before needs no I/O.",
    "result",
    _RESULTS,
    _BOUNDS,
)
_SUPPRESSED: Final = CounterColumns(
    _SECONDS.end,
    "scopewright_gateway_audit_lines_suppressed",
    "Refusals without an audit line of their own, because too many of one API came in one second.",
    (),
    ((),),
)
_APIS: Final = GaugeColumns(
    _SUPPRESSED.end,
    "scopewright_gateway_apis",
    "APIs with hostnames, by whether their rules are in force or cannot be read; all requests to the latter are "
    "refused.",
    ("state",),
    ("in_force", "unreadable"),
)
_READY: Final = _APIS.end
_ACTIVITY: Final = _READY + 1
_CONTACT: Final = _ACTIVITY + 1
_KEYS: Final = _CONTACT + 1
_FEED: Final = _KEYS + 1
_CONNECTIONS: Final = _FEED + 1
_COLUMN_COUNT: Final = _CONNECTIONS + connections.COLUMNS


@dataclass(frozen=True, slots=True)
class GatewayCounters:
    """What all processes share. Create it before they are forked."""

    columns: SharedCounters
    decisions: SharedSeries

    @classmethod
    def of(cls, workers: int) -> "GatewayCounters":
        reserved = tuple(("", "", "", result, "") for result in _RESULTS)
        return cls(SharedCounters(_COLUMN_COUNT, workers), SharedSeries(_without_api, reserved, workers))


def _without_api(labels: Labels) -> Labels:
    return ("", "", "", labels[3], "")


@dataclass(frozen=True, slots=True)
class GatewayGauges:
    """Read at each update. Times are in seconds since the epoch; None: never, or not from a remote store.

    `apis` are the numbers of APIs in force and of unreadable ones.
    """

    ready: Callable[[], bool]
    apis: Callable[[], tuple[int, int]]
    keys_received_at: Callable[[], float | None]
    revocations_received_at: Callable[[], float | None]
    last_activity: Callable[[], float | None] = lambda: None
    last_contact: Callable[[], float | None] = lambda: None


class GatewayMetrics(Collector):
    """Of one worker, whose number is `index`. `sources` is set once there is a gateway."""

    def __init__(self, counters: GatewayCounters, index: int = 0) -> None:
        self._shared = counters
        self._row: WorkerCounters = counters.columns.row(index)
        self._cells = self._row.cells
        self._decisions: SeriesRow = counters.decisions.row(index)
        self.connections = connections.ConnectionMetrics(self._row, _CONNECTIONS, "scopewright_gateway")
        self._labels: dict[tuple[str, str, Result, str], Labels] = {}
        self.sources: GatewayGauges | None = None
        for column in (_READY, _ACTIVITY, _CONTACT, _KEYS, _FEED):
            self._cells[column] = 0  # a process that replaces an exited one begins with none

    @property
    def shared(self) -> bool:
        """Whether other processes read these counters, so that `run` is needed."""
        return self._shared.columns.rows > 1

    def count(self, decision: Decision, seconds: float) -> None:
        key = (decision.api_key, decision.rule, decision.result, decision.reason)
        labels = self._labels.get(key)
        if labels is None:
            labels = self._labels[key] = _labels_of(*key)
        self._decisions.add(labels)
        _SECONDS.add(self._cells, decision.result.value, seconds)

    def suppressed(self) -> None:
        _SUPPRESSED.add(self._cells)

    def keep(self, rules: Mapping[str, Collection[str]]) -> None:
        """Remove the series of deleted APIs and rules. `rules` are the names of the rules of each API."""

        def is_known(labels: Labels) -> bool:
            namespace, name, rule = labels[:3]
            known = rules.get(f"{namespace}/{name}")
            return not namespace or (known is not None and (not rule or rule in known))

        self._labels.clear()
        self._decisions.keep(is_known)

    async def run(self) -> None:
        """Record the gauges at intervals. Those of a process that hangs stay as they were."""
        while True:
            self._update()
            await asyncio.sleep(UPDATE_INTERVAL_SECONDS)

    def _update(self) -> None:
        self.connections.update()
        if (sources := self.sources) is None:
            return
        cells = self._cells
        cells[_READY] = sources.ready()
        in_force, unreadable = sources.apis()
        _APIS.set(cells, in_force, "in_force")
        _APIS.set(cells, unreadable, "unreadable")
        cells[_ACTIVITY] = sources.last_activity() or cells[_ACTIVITY]
        cells[_CONTACT] = sources.last_contact() or 0
        cells[_KEYS] = sources.keys_received_at() or 0
        cells[_FEED] = sources.revocations_received_at() or 0

    def answer(self) -> Answer:
        return exposition(self)

    def collect(self) -> Iterator[Metric]:
        self._update()
        columns = self._shared.columns
        totals = columns.totals()
        decisions = CounterMetricFamily(
            "scopewright_gateway_decisions",
            "Decisions about requests, by API and rule. Without API: the request leads to none, or there are too many "
            "series.",
            labels=_LABELS,
        )
        for labels, value in self._shared.decisions.totals().items():
            decisions.add_metric(labels, value)
        yield decisions
        yield _SECONDS.family(totals)
        yield _SUPPRESSED.family(totals)
        yield from self._of_this_worker()
        yield from self.connections.collect()
        yield from self._processes()

    def _of_this_worker(self) -> Iterator[Metric]:
        """Each worker has all APIs. The issuer answers each of them at other times."""
        yield _APIS.family(self._cells.tolist())
        for column, name, meaning in (
            (_KEYS, "keys", "When the issuer last sent its keys or confirmed them: the earliest of all workers."),
            (
                _FEED,
                "revocations",
                "When the issuer last sent its revocations or confirmed them: the earliest of all workers.",
            ),
        ):
            yield self._earliest(f"scopewright_gateway_{name}_received_timestamp_seconds", meaning, column)

    def _earliest(self, name: str, meaning: str, column: int) -> Metric:
        family = GaugeMetricFamily(name, meaning)
        if instants := [at for at in self._shared.columns.column(column) if at]:
            family.add_metric([], min(instants))
        return family

    def _processes(self) -> Iterator[Metric]:
        """Gauges of all workers."""
        ready = self._shared.columns.column(_READY)
        yield GaugeMetricFamily("scopewright_gateway_workers", "Configured worker processes.", len(ready))
        yield GaugeMetricFamily("scopewright_gateway_ready_workers", "Worker processes that can decide.", sum(ready))
        yield self._earliest(
            "scopewright_gateway_watch_heard_timestamp_seconds",
            "When the watches of the records last received anything, also a bookmark: the earliest of all workers.",
            _ACTIVITY,
        )
        yield self._earliest(
            "scopewright_gateway_api_server_last_contact_timestamp_seconds",
            "When the API server last answered, with any status: the earliest of all workers.",
            _CONTACT,
        )
        build = GaugeMetricFamily(
            "scopewright_build_info", "Always 1, with the running version as a label.", labels=["version"]
        )
        build.add_metric([version("scopewright")], 1)
        yield build


def _labels_of(api: str, rule: str, result: Result, reason: str) -> Labels:
    namespace, _, name = api.partition("/")
    return (namespace, name, rule, result.value, reason)
