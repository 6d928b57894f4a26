"""Metrics of connections: count, memory, and those that the server closed."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from scopewright.http import ConnectionState, ConnectionUsage
from scopewright.serving.counters import WorkerCounters

_STATES: Final = tuple(state.name.lower() for state in ConnectionState)
_CAUSES: Final = ("evicted", "address_limit", "timed_out")
_REFUSALS: Final = ("400", "408", "413", "414", "429", "431", "501", "503", "505", "tls")

_CLOSED: Final = {(cause, state): n for n, (cause, state) in enumerate((c, s) for c in _CAUSES for s in _STATES)}
_REFUSED: Final = {reason: len(_CLOSED) + n for n, reason in enumerate(_REFUSALS)}
_OPEN: Final = {state: len(_CLOSED) + len(_REFUSED) + n for n, state in enumerate(_STATES)}
_USED: Final = len(_CLOSED) + len(_REFUSED) + len(_OPEN)
_LIMIT: Final = _USED + 1

COLUMNS: Final = _LIMIT + 1
"""Number of columns in the counters."""


class ConnectionMetrics:
    """Counts for one process, in its counters from column `first` on. Exports the sums of all processes.

    `prefix` is that of the names, such as `scopewright_issuer`.
    """

    def __init__(self, counters: WorkerCounters, first: int, prefix: str) -> None:
        self._prefix = prefix
        self._counters = counters
        self._first = first
        self.usage: Callable[[], ConnectionUsage] = lambda: ConnectionUsage(Counter(), 0, 0)
        """Set once there is a server."""

    def count(self, event: str, detail: str) -> None:
        """`http.host.Count`."""
        column = _REFUSED.get(detail) if event == "refused" else _CLOSED.get((event, detail))
        if column is not None:
            self._counters.cells[self._first + column] += 1

    def update(self) -> None:
        """Record the current usage."""
        usage = self.usage()
        for state, column in _OPEN.items():
            self._counters.cells[self._first + column] = usage.connections[state]
        self._counters.cells[self._first + _USED] = usage.used
        self._counters.cells[self._first + _LIMIT] = usage.limit

    def collect(self) -> Iterator[Metric]:
        totals = self._counters.shared.totals()[self._first : self._first + COLUMNS]
        connections = GaugeMetricFamily(
            f"{self._prefix}_connections", "Open connections, by what they wait for.", labels=["state"]
        )
        for state, column in _OPEN.items():
            connections.add_metric([state], totals[column])
        yield connections
        yield GaugeMetricFamily(
            f"{self._prefix}_connection_memory_bytes",
            "Memory of open connections, including requests and answers that wait.",
            totals[_USED],
        )
        yield GaugeMetricFamily(
            f"{self._prefix}_connection_memory_limit_bytes",
            "Memory limit of connections, of all processes. Beyond it, the longest idle connections are closed.",
            totals[_LIMIT],
        )
        closed = CounterMetricFamily(
            f"{self._prefix}_connections_closed",
            "Connections closed by the server, by cause (memory limit, limit of the address, timeout) and by what they "
            "waited for.",
            labels=["cause", "state"],
        )
        for (cause, state), column in _CLOSED.items():
            closed.add_metric([cause, state], totals[column])
        yield closed
        refused = CounterMetricFamily(
            f"{self._prefix}_transport_refusals",
            "Requests refused before they reached an endpoint, by HTTP status; tls: failed handshakes.",
            labels=["reason"],
        )
        for reason, column in _REFUSED.items():
            refused.add_metric([reason], totals[column])
        yield refused
