"""Strings that many objects have in common, such as namespaces, scopes and conditions, are in memory once.

Otherwise each parsed object has its own copy of every string: 3 KB of the 16 KB that a client takes. It is not
`sys.intern`, whose strings some versions of Python never free.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

_MAX_LENGTH: Final = 64
"""Characters of a SHA-256 in hex. Longer strings are messages, most of which name their object."""


def shared(value: str) -> str:
    """Return an equal string, the same object as for equal ones before, among the last few thousand different ones."""
    return _first_of_equal(value) if len(value) <= _MAX_LENGTH else value


def shared_items(items: Mapping[str, str]) -> dict[str, str]:
    return {shared(name): shared(value) for name, value in items.items()}


@lru_cache(maxsize=4096)
def _first_of_equal(value: str) -> str:
    return value
