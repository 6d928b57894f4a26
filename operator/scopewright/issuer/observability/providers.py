"""How identity providers answer: counted, and listed while they fail."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Final, get_args

from prometheus_client.metrics_core import CounterMetricFamily, Metric

from scopewright.issuer.state.providers import ProviderIndex
from scopewright.issuer.upstream.connection import Operation
from scopewright.rate_budget import Clock
from scopewright.serving.counters import WorkerCounters
from scopewright.upstream import FailureReason

FAILING_SECONDS: Final = 600.0
"""For this long after a failure a provider counts as failing, unless it answers."""
MAX_PROVIDERS: Final = 64
"""Further ones are not counted."""
OK: Final = "ok"
_CELLS: Final = {
    pair: 1 + n
    for n, pair in enumerate(
        (operation, result) for operation in get_args(Operation) for result in (OK, *get_args(FailureReason))
    )
}
"""By operation and result: the place in the columns of a provider, after its key."""
_WIDTH: Final = 1 + len(_CELLS)

COLUMNS: Final = MAX_PROVIDERS * _WIDTH
"""Number of columns in the counters."""


class ProviderMetrics:
    """Counts for one process, in its counters from column `first` on. Exports the sums of all processes.

    Each process gives a provider a place of its own, and writes a key there that stands for the name.
    """

    def __init__(self, counters: WorkerCounters, first: int, providers: ProviderIndex, clock: Clock) -> None:
        self._counters = counters
        self._first = first
        self._providers = providers
        self._clock = clock
        self._failed: dict[str, float] = {}
        """By name: when the provider failed last, if it has not answered since."""

    @property
    def failing(self) -> list[str]:
        """The names of the providers in force that do not answer this process."""
        since = self._clock() - FAILING_SECONDS
        return [provider.name for provider in self._providers if self._failed.get(provider.name, 0.0) > since]

    def observe(self, name: str, operation: Operation, result: str) -> None:
        """Count a request to a provider. `result` is `ok`, or the reason of `UpstreamFailed`."""
        place = self._place(_key(name))
        if place is not None:
            self._counters.cells[place + _CELLS[operation, result]] += 1
        # Only of providers in force, so that names of deleted ones do not stay.
        self._failed = {name: at for name, at in self._failed.items() if self._providers.by_name(name) is not None}
        if result == OK:
            self._failed.pop(name, None)
        elif self._providers.by_name(name) is not None:
            self._failed[name] = self._clock()

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "scopewright_issuer_provider_requests",
            "Requests to identity providers, by their name and by what was asked for.",
            labels=["provider", "operation", "result"],
        )
        sums = self._sums()
        for provider in self._providers:
            for (operation, result), cell in _CELLS.items():
                requests.add_metric([provider.name, operation, result], sums[_key(provider.name)][cell])
        yield requests

    def _sums(self) -> Mapping[float, list[float]]:
        """By key of each provider in force, the cells of all processes."""
        shared = self._counters.shared
        sums = {_key(provider.name): [0.0] * _WIDTH for provider in self._providers}
        for row in range(shared.rows):
            begin = row * shared.columns + self._first
            for place in range(begin, begin + COLUMNS, _WIDTH):
                if total := sums.get(shared.cells[place]):
                    for cell in range(1, _WIDTH):
                        total[cell] += shared.cells[place + cell]
        return sums

    def _place(self, key: float) -> int | None:
        """The place of a provider in this process; a new one in place of a provider that was deleted."""
        cells = self._counters.cells
        places = range(self._first, self._first + COLUMNS, _WIDTH)
        known = next((place for place in places if cells[place] == key), None)
        if known is not None:
            return known
        in_force = {_key(provider.name) for provider in self._providers}
        free = next((place for place in places if cells[place] not in in_force), None)
        if free is not None:
            for cell in range(1, _WIDTH):
                cells[free + cell] = 0
            cells[free] = key
        return free


def _key(name: str) -> float:
    """Stands for a name in the counters: 48 bits, which a float holds exactly, and never 0."""
    return float(1 + int.from_bytes(hashlib.sha256(name.encode()).digest()[:6]))
