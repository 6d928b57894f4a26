"""Counting together."""

import os

from scopewright.issuer.serving.counters import SharedCounters


def test_each_counts_in_a_row_of_its_own_and_all_see_the_totals() -> None:
    tally = SharedCounters(columns=3, rows=2)
    first, second = tally.row(0), tally.row(1)
    first.cells[0] += 1
    second.cells[0] += 2
    second.cells[2] += 0.5
    assert tally.totals() == [3, 0, 0.5]


def test_another_process_counts_in_the_same_memory() -> None:
    tally = SharedCounters(columns=2, rows=2)
    pid = os.fork()
    if not pid:
        tally.row(1).cells[1] += 7
        os._exit(0)
    os.waitpid(pid, 0)
    assert tally.totals() == [0, 7]
