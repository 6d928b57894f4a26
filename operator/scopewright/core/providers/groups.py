"""Groups that a provider may assign: names and ranges. Those of two providers must not overlap."""

from collections.abc import Iterable
from typing import Final

from scopewright.core.records.identity_provider import ClaimMappings

RANGE_END: Final = "*"
"""At the end of a range: `hr-*` is every group whose name begins with `hr-`."""


def is_allowed(group: str, allow: Iterable[str]) -> bool:
    """Whether one of the names and ranges covers the group. All are without the prefix of the provider."""
    return any(_covers(entry, group) for entry in allow)


def allowed_names(names: Iterable[str], allow: Iterable[str]) -> tuple[str, ...]:
    """Return those names that `is_allowed`, each once, in their order. It is fast for many names and many entries."""
    entries = frozenset(allow)
    starts = tuple(entry[:-1] for entry in entries if entry.endswith(RANGE_END))
    exact = frozenset(entry for entry in entries if not entry.endswith(RANGE_END))
    return tuple(dict.fromkeys(name for name in names if name in exact or name.startswith(starts)))


def overlap_of(one: ClaimMappings, other: ClaimMappings) -> tuple[str, str] | None:
    """Return two entries, with prefixes, that have a group in common; None if there are none."""
    first, second = _prefixed(one), _prefixed(other)
    names, ranges = frozenset(second), tuple(entry for entry in second if entry.endswith(RANGE_END))
    for entry in first:
        # A name is not compared with other names, of which static users have hundreds.
        candidates = second if entry.endswith(RANGE_END) else (entry,) if entry in names else ranges
        if (found := next((each for each in candidates if _overlap(entry, each)), None)) is not None:
            return entry, found
    return None


def _prefixed(mappings: ClaimMappings) -> tuple[str, ...]:
    return tuple(mappings.groups_prefix + entry for entry in mappings.groups_allow)


def _covers(entry: str, group: str) -> bool:
    return group.startswith(entry[:-1]) if entry.endswith(RANGE_END) else group == entry


def _overlap(one: str, other: str) -> bool:
    """Whether a group has both: of two ranges, the start of one begins with the start of the other."""
    if one.endswith(RANGE_END) and other.endswith(RANGE_END):
        first, second = one[:-1], other[:-1]
        return first.startswith(second) or second.startswith(first)
    return _covers(one, other) or _covers(other, one)
