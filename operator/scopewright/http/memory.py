"""Return freed memory to the system, including memory between blocks that are in use."""

import ctypes
from collections.abc import Callable
from typing import Final

_MIN_FREED_BYTES: Final = 4 * 1024 * 1024
"""Freed since the last trim."""
_MIN_INTERVAL_SECONDS: Final = 5.0
"""Between two trims: each takes milliseconds."""


def _malloc_trim() -> Callable[[int], int] | None:
    """glibc keeps freed memory unless it is at the heap's end. Other C libraries have no malloc_trim, nor need it."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return trim


class Trimmer:
    """Calls malloc_trim after much memory was freed. Call `update` at regular intervals."""

    def __init__(self, trim: Callable[[int], int] | None = None) -> None:
        self._trim = trim or _malloc_trim()
        self._peak = 0
        self._not_before = 0.0

    def update(self, used: int, now: float) -> None:
        """`used` in bytes, `now` in seconds."""
        self._peak = max(self._peak, used)
        if self._trim is not None and self._peak - used >= _MIN_FREED_BYTES and now >= self._not_before:
            self._trim(0)
            self._peak, self._not_before = used, now + _MIN_INTERVAL_SECONDS
