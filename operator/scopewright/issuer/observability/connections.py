"""Metrics of the issuer's connections: how many there are, what they take, and which of them the server ended."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from scopewright.http import ConnectionState, ConnectionUsage
from scopewright.issuer.serving.counters import WorkerCounters

_STATES: Final = tuple(state.name.lower() for state in ConnectionState)
_CAUSES: Final = ("evicted", "address_limit", "timed_out")
_REFUSALS: Final = ("400", "408", "413", "414", "429", "431", "501", "503", "505", "tls")

_CLOSED: Final = {(cause, state): n for n, (cause, state) in enumerate((c, s) for c in _CAUSES for s in _STATES)}
_REFUSED: Final = {reason: len(_CLOSED) + n for n, reason in enumerate(_REFUSALS)}
_OPEN: Final = {state: len(_CLOSED) + len(_REFUSED) + n for n, state in enumerate(_STATES)}
_USED: Final = len(_CLOSED) + len(_REFUSED) + len(_OPEN)
_LIMIT: Final = _USED + 1

WIDTH: Final = _LIMIT + 1
"""Cells that this takes in a row."""


class ConnectionMetrics:
    """Of one process, in the cells of its row from `first` on; what it exports is the sum of all processes."""

    def __init__(self, row: WorkerCounters, first: int) -> None:
        self._row = row
        self._first = first
        self.usage: Callable[[], ConnectionUsage] = lambda: ConnectionUsage(Counter(), 0, 0)
        """Of the server, once it is there."""

    def count(self, event: str, detail: str) -> None:
        """As a Server reports what it ends."""
        column = _REFUSED.get(detail) if event == "refused" else _CLOSED.get((event, detail))
        if column is not None:
            self._row.cells[self._first + column] += 1

    def look(self) -> None:
        """Record how it is now."""
        usage = self.usage()
        for state, column in _OPEN.items():
            self._row.cells[self._first + column] = usage.connections[state]
        self._row.cells[self._first + _USED] = usage.used
        self._row.cells[self._first + _LIMIT] = usage.limit

    def collect(self) -> Iterator[Metric]:
        totals = self._row.tally.totals()[self._first : self._first + WIDTH]
        connections = GaugeMetricFamily(
            "scopewright_issuer_connections", "Open connections, by what they wait for.", labels=["state"]
        )
        for state, column in _OPEN.items():
            connections.add_metric([state], totals[column])
        yield connections
        yield GaugeMetricFamily(
            "scopewright_issuer_connection_memory_bytes",
            "Memory that open connections take, with what they have sent and not read.",
            totals[_USED],
        )
        yield GaugeMetricFamily(
            "scopewright_issuer_connection_memory_limit_bytes",
            "Memory that connections may take, of all processes; beyond it, the longest idle ones are closed.",
            totals[_LIMIT],
        )
        closed = CounterMetricFamily(
            "scopewright_issuer_connections_closed",
            "Connections that were closed for want of room, for the limit of their address, or because their time was "
            "up, by what they waited for.",
            labels=["cause", "state"],
        )
        for (cause, state), column in _CLOSED.items():
            closed.add_metric([cause, state], totals[column])
        yield closed
        refused = CounterMetricFamily(
            "scopewright_issuer_transport_refusals",
            "Requests that were refused before an endpoint saw them, by HTTP status; tls: a handshake that failed.",
            labels=["reason"],
        )
        for reason, column in _REFUSED.items():
            refused.add_metric([reason], totals[column])
        yield refused
