"""Times by name, as in revocation records: of two times for a name, the later one counts."""

from collections.abc import Iterable, Mapping

Times = Mapping[str, int]
Nested = Mapping[str, Times]


def later(one: Times, other: Times) -> dict[str, int]:
    """Merge two. The cost of merging a small one into a large one is small."""
    return {**one, **{name: max(one.get(name, 0), instant) for name, instant in other.items()}}


def later_nested(one: Nested, other: Nested) -> Nested:
    return {**one, **{name: later(one.get(name, {}), times) for name, times in other.items()}}


def latest(several: Iterable[Times]) -> dict[str, int]:
    """Merge many, in linear time."""
    merged: dict[str, int] = {}
    for times in several:
        _update(merged, times)
    return merged


def latest_nested(several: Iterable[Nested]) -> Nested:
    merged: dict[str, dict[str, int]] = {}
    for nested in several:
        for name, times in nested.items():
            _update(merged.setdefault(name, {}), times)
    return merged


def after(times: Times, since: float) -> dict[str, int]:
    """Return the times that are later than `since`."""
    return {name: instant for name, instant in times.items() if instant > since}


def nested_after(nested: Nested, since: float) -> Nested:
    """As `after`, without the names that have no time left."""
    remaining = {name: after(times, since) for name, times in nested.items()}
    return {name: times for name, times in remaining.items() if times}


def _update(times: dict[str, int], by: Times) -> None:
    for name, instant in by.items():
        times[name] = max(times.get(name, 0), instant)
