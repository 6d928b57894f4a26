"""A dict with a bounded number of entries."""

from contextlib import suppress
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(dict[K, V]):
    """Setting an entry beyond `most` drops the one that was set least recently. Threads need no lock for that."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        while len(self) > self._most:
            with suppress(RuntimeError, StopIteration):  # another thread sets or drops one: look again
                self.pop(next(iter(self)), None)
