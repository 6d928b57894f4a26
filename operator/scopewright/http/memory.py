"""Memory that is freed goes back to the system, also from between what is still in use."""

import ctypes
from collections.abc import Callable
from typing import Final

_WORTH_IT: Final = 4 * 1024 * 1024
"""Bytes that must have been freed since."""
_EVERY: Final = 5.0
"""Seconds between two times: to look through the heap takes milliseconds."""


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc keeps freed memory unless it is at the heap's end; other C libraries have no such function, nor need it."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


class Trimmer:
    """To be asked again and again, with how much is in use."""

    def __init__(self, trim: Callable[[int], int] | None = None) -> None:
        self._trim = trim or _malloc_trim()
        self._peak = 0
        self._not_before = 0.0

    def look(self, used: int, now: float) -> None:
        """`used` in bytes, `now` in seconds."""
        self._peak = max(self._peak, used)
        if self._trim is not None and self._peak - used >= _WORTH_IT and now >= self._not_before:
            self._trim(0)
            self._peak, self._not_before = used, now + _EVERY
