"""Counters of several processes, whose labels are known at run time only."""

from scopewright.serving.series import Labels, SharedSeries

OTHER: Labels = ("", "other")


def shared(rows: int = 1, series: int = 8) -> SharedSeries:
    return SharedSeries(lambda labels: OTHER, (OTHER,), rows, series)


def test_rows_are_summed_by_their_labels() -> None:
    series = shared(rows=2)
    first, second = series.row(0), series.row(1)
    for row, name in ((first, "payroll"), (second, "bank"), (second, "payroll"), (first, "payroll")):
        row.add((name, "read"))
    assert series.totals() == {OTHER: 0, ("payroll", "read"): 3, ("bank", "read"): 1}


def test_series_of_what_is_deleted_end_and_leave_their_room() -> None:
    series = shared(series=3)
    row = series.row()
    row.add(("payroll", "read"))
    row.add(("bank", "read"))
    row.keep(lambda labels: labels[0] == "bank")
    assert series.totals() == {OTHER: 0, ("bank", "read"): 1}
    row.add(("leave", "read"))
    assert series.totals() == {OTHER: 0, ("bank", "read"): 1, ("leave", "read"): 1}
    row.keep(lambda labels: False)
    assert series.totals() == {OTHER: 0}


def test_no_group_takes_the_room_of_all_others() -> None:
    """The owner of an API decides how many rules it has, and callers cause a series for each reason of a refusal."""
    series = shared(series=17)
    row = series.row()
    for number in range(20):
        row.add(("payroll", f"rule-{number}"))
    row.add(("bank", "read"))
    row = series.row()  # of the process that replaces an exited one
    row.add(("payroll", "rule-99"))
    row.add(("leave", "read"))
    totals = series.totals()
    assert totals[OTHER] == 13
    assert totals["bank", "read"] == totals["leave", "read"] == 1
    row.keep(lambda labels: labels[0] != "payroll")
    row.add(("payroll", "rule-99"))
    assert series.totals()["payroll", "rule-99"] == 1


def test_series_without_room_are_counted_together() -> None:
    series = shared(series=2)
    row = series.row()
    for name in ("payroll", "bank", "leave", "payroll"):
        row.add((name, "read"))
    assert series.totals() == {OTHER: 2, ("payroll", "read"): 2}


def test_labels_that_are_too_long_are_counted_together() -> None:
    series = shared()
    series.row().add(("n" * 600, "read"))
    assert series.totals() == {OTHER: 1}


def test_process_that_replaces_an_exited_one_continues_its_series() -> None:
    series = shared(series=3)
    before = series.row()
    before.add(("payroll", "read"))
    before.add(("bank", "read"))
    before.keep(lambda labels: labels[0] == "payroll")
    after = series.row()
    after.add(("payroll", "read"))
    after.add(("leave", "read"))
    assert series.totals() == {OTHER: 0, ("payroll", "read"): 2, ("leave", "read"): 1}
