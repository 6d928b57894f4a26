"""Counters in memory that several processes share. Each process writes to its own row; readers sum the columns."""

import mmap
from typing import Final

_CELL_BYTES: Final = 8


class WorkerCounters:
    """The row of one process. A process that replaces an exited one continues its row, so totals never decrease."""

    def __init__(self, shared: "SharedCounters", index: int) -> None:
        self.shared = shared
        self.cells = shared.cells[index * shared.columns : (index + 1) * shared.columns]


class SharedCounters:
    """Create it before the processes are forked."""

    def __init__(self, columns: int, rows: int = 1) -> None:
        self.columns = columns
        self.rows = rows
        self.cells = memoryview(mmap.mmap(-1, _CELL_BYTES * columns * rows)).cast("d")

    def row(self, index: int = 0) -> WorkerCounters:
        return WorkerCounters(self, index)

    def column(self, index: int) -> list[float]:
        """The value of each process."""
        return [float(cell) for cell in self.cells[index :: self.columns]]

    def totals(self) -> list[float]:
        return [sum(self.cells[column :: self.columns]) for column in range(self.columns)]
