"""Numbers that several processes tell together: each has a row of its own, in memory that they share."""

import mmap
from typing import Final

_BYTES: Final = 8


class WorkerCounters:
    """What one process counts; `Tally.totals` sums the same column of all rows.

    A process that takes the place of a dead one goes on in its row, so that no total ever falls.
    """

    def __init__(self, tally: "SharedCounters", index: int) -> None:
        self.tally = tally
        self.cells = tally.cells[index * tally.columns : (index + 1) * tally.columns]


class SharedCounters:
    """Made before the processes are forked."""

    def __init__(self, columns: int, rows: int = 1) -> None:
        self.columns = columns
        self.rows = rows
        self.cells = memoryview(mmap.mmap(-1, _BYTES * columns * rows)).cast("d")

    def row(self, index: int = 0) -> WorkerCounters:
        return WorkerCounters(self, index)

    def column(self, index: int) -> list[float]:
        """What each process says of one thing."""
        return [float(cell) for cell in self.cells[index :: self.columns]]

    def totals(self) -> list[float]:
        return [sum(self.cells[column :: self.columns]) for column in range(self.columns)]
