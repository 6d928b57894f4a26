"""Counters, gauges and histograms with fixed labels, each in a range of columns of the shared counters.

A range begins where the one before it ends. The sums of all processes are exported.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

Cells: TypeAlias = "memoryview[float]"
"""Of one process; the ranges here begin at 0."""


class CounterColumns:
    """A counter. `rows` are the values of its labels, all that there are."""

    def __init__(
        self, first: int, name: str, meaning: str, labels: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> None:
        self._first = first
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._columns: Final = {tuple(row): first + n for n, row in enumerate(rows)}
        self.end: Final = first + len(self._columns)

    def __contains__(self, row: tuple[str, ...]) -> bool:
        return row in self._columns

    def add(self, cells: Cells, *row: str) -> None:
        cells[self._columns[row]] += 1

    def family(self, totals: Sequence[float]) -> CounterMetricFamily:
        family = CounterMetricFamily(self._name, self._meaning, labels=self._labels)
        for row, column in self._columns.items():
            family.add_metric(row, totals[column])
        return family


class GaugeColumns:
    """A gauge that each process writes."""

    def __init__(
        self, first: int, name: str, meaning: str, labels: Sequence[str] = (), rows: Iterable[str] = ("",)
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = labels
        self._columns: Final = {row: first + n for n, row in enumerate(rows)}
        self.end: Final = first + len(self._columns)

    def set(self, cells: Cells, value: float, row: str = "") -> None:
        cells[self._columns[row]] = value

    def family(self, totals: Sequence[float]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(self._name, self._meaning, labels=self._labels)
        for row, column in self._columns.items():
            family.add_metric([row] if self._labels else [], totals[column])
        return family


class HistogramColumns:
    """A histogram in seconds, with one label."""

    def __init__(
        self, first: int, name: str, meaning: str, label: str, values: Iterable[str], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._label = label
        self._bounds = bounds
        self._shown = [*map(str, bounds), "+Inf"]
        width = len(self._shown) + 1
        self._columns: Final = {value: first + n * width for n, value in enumerate(values)}
        self.end: Final = first + len(self._columns) * width

    def add(self, cells: Cells, value: str, seconds: float) -> None:
        first = self._columns[value]
        cells[first + bisect_left(self._bounds, seconds)] += 1
        cells[first + len(self._shown)] += seconds

    def family(self, totals: Sequence[float]) -> HistogramMetricFamily:
        family = HistogramMetricFamily(self._name, self._meaning, labels=[self._label])
        for value, first in self._columns.items():
            total = first + len(self._shown)
            counts = accumulate(totals[first:total])
            family.add_metric([value], list(zip(self._shown, counts, strict=True)), totals[total])
        return family
