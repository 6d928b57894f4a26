"""Dicts with a bounded number of entries."""

from contextlib import suppress
from typing import Generic, TypeVar

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


class RecentDict(Generic[K, V]):
    """Keeps at least the `most` entries that were set or got last, and at most twice as many.

    There are two generations. When the newer one is full, the older one is dropped, so a flood of new entries does not
    displace one that is in use.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._newer: dict[K, V] = {}
        self._older: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._newer.keys() | self._older.keys())

    def get(self, key: K) -> V | None:
        value = self._newer.get(key)
        if value is None and (value := self._older.get(key)) is not None:
            self[key] = value
        return value

    def __setitem__(self, key: K, value: V) -> None:
        if len(self._newer) >= self._most and key not in self._newer:
            self._newer, self._older = {}, self._newer
        self._newer[key] = value

    def setdefault(self, key: K, value: V) -> V:
        known = self.get(key)
        if known is None:
            known = self[key] = value
        return known
