"""Counters that processes share."""

import os

from scopewright.serving.counters import SharedCounters


def test_each_process_counts_in_its_row_and_reads_the_totals() -> None:
    shared = SharedCounters(columns=3, rows=2)
    first, second = shared.row(0), shared.row(1)
    first.cells[0] += 1
    second.cells[0] += 2
    second.cells[2] += 0.5
    assert shared.totals() == [3, 0, 0.5]


def test_another_process_counts_in_the_same_memory() -> None:
    shared = SharedCounters(columns=2, rows=2)
    pid = os.fork()
    if not pid:
        shared.row(1).cells[1] += 7
        os._exit(0)
    os.waitpid(pid, 0)
    assert shared.totals() == [0, 7]
