"""BoundedDict never has more entries than its bound, with threads too."""

import sys
import threading
from collections.abc import Iterator

import pytest

from scopewright.bounded import BoundedDict


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_entry_that_was_set_least_recently_is_dropped() -> None:
    entries = BoundedDict[str, int](2)
    for key in ("a", "b", "a", "c"):
        entries[key] = 1
    assert list(entries) == ["a", "c"]


def test_bound_holds_again_after_threads_exceeded_it() -> None:
    entries = BoundedDict[str, int](2)
    for key in ("a", "b", "c", "d"):  # as if each thread had dropped what another one had dropped before
        dict.__setitem__(entries, key, 1)
    entries["e"] = 1
    assert list(entries) == ["d", "e"]


@pytest.mark.usefixtures("frequent_switches")
def test_threads_set_entries_without_a_lock() -> None:
    entries, errors = BoundedDict[int, int](50), list[Exception]()

    def fill(start: int) -> None:
        try:
            for number in range(20_000):
                entries[(number * 7 + start) % 200] = number
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=fill, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    entries[-1] = 0
    assert len(entries) <= 50
