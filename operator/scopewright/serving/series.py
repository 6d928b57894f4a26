"""Counters in shared memory whose labels are known at run time only, such as the names of APIs.

Each process writes its own row; readers sum the rows by labels. The number of series is bounded, and a series ends when
what it counts is deleted.
"""

import mmap
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

from scopewright.serving.counters import SharedCounters

Labels = tuple[str, ...]

MAX_SERIES: Final = 8192
"""Of one process. More are counted by what `fallback` returns."""
_LENGTH: Final = struct.Struct("=H")
_SLOT_BYTES: Final = 512
_MAX_LABELS_BYTES: Final = _SLOT_BYTES - _LENGTH.size
_SEPARATOR: Final = "\0"


class SharedSeries:
    """Create it before the processes are forked. `fallback` returns the labels of a series that has no room; there are
    few of these, and room for them is reserved. The first label is that of a group, such as a namespace: a group has no
    room for more series than there would be left for all others.
    """

    def __init__(
        self,
        fallback: Callable[[Labels], Labels],
        reserved: tuple[Labels, ...],
        rows: int = 1,
        series: int = MAX_SERIES,
    ) -> None:
        self.fallback = fallback
        self.reserved = reserved
        self.series = max(series, len(reserved))
        self.values = SharedCounters(self.series, rows)
        self.used = SharedCounters(1, rows)
        """The number of slots in front that may have labels."""
        self.labels = mmap.mmap(-1, _SLOT_BYTES * self.series * rows)

    def row(self, index: int = 0) -> "SeriesRow":
        return SeriesRow(self, index)

    def totals(self) -> Mapping[Labels, float]:
        """The sums of all processes."""
        totals: dict[Labels, float] = {}
        for row in range(self.used.rows):
            values = self.values.row(row).cells
            for slot in range(int(self.used.row(row).cells[0])):
                labels = self.read(row, slot)
                value = values[slot]
                # A process may have replaced the series meanwhile.
                if labels is not None and labels == self.read(row, slot):
                    totals[labels] = totals.get(labels, 0.0) + value
        return totals

    def read(self, row: int, slot: int) -> Labels | None:
        start = self._start(row, slot)
        (length,) = _LENGTH.unpack_from(self.labels, start)
        if not length:
            return None
        text = self.labels[start + _LENGTH.size : start + _LENGTH.size + length]
        return tuple(text.decode("utf-8", "replace").split(_SEPARATOR))

    def write(self, row: int, slot: int, encoded: bytes) -> None:
        """The length last: until then, a reader sees no series. Empty: the slot is free."""
        start = self._start(row, slot)
        _LENGTH.pack_into(self.labels, start, 0)
        self.labels[start + _LENGTH.size : start + _LENGTH.size + len(encoded)] = encoded
        _LENGTH.pack_into(self.labels, start, len(encoded))

    def _start(self, row: int, slot: int) -> int:
        return _SLOT_BYTES * (row * self.series + slot)


class SeriesRow:
    """The series of one process. A process that replaces an exited one continues its row."""

    def __init__(self, shared: SharedSeries, index: int) -> None:
        self.shared = shared
        self._index = index
        self._values = shared.values.row(index).cells
        self._used = shared.used.row(index).cells
        self._slots: dict[Labels, int] = {}
        self._free: list[int] = []
        self._groups: Counter[str] = Counter()
        for slot in range(int(self._used[0])):
            labels = shared.read(index, slot)
            if labels is None:
                self._free.append(slot)
            else:
                self._slots[labels] = slot
                self._groups[labels[0]] += 1
        for labels in shared.reserved:
            if labels not in self._slots:
                self._take(labels)

    def add(self, labels: Labels) -> None:
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._take(labels)
        self._values[slot] += 1

    def keep(self, is_known: Callable[[Labels], bool]) -> None:
        """Remove all other series, except the reserved ones."""
        for labels in [labels for labels in self._slots if labels not in self.shared.reserved]:
            if not is_known(labels):
                slot = self._slots.pop(labels)
                self._groups[labels[0]] -= 1
                self.shared.write(self._index, slot, b"")
                self._values[slot] = 0
                self._free.append(slot)

    def _take(self, labels: Labels) -> int:
        encoded = _SEPARATOR.join(labels).encode()
        slot = self._free_slot() if len(encoded) <= _MAX_LABELS_BYTES and self._has_room(labels) else None
        if slot is None:
            return self._slots[self.shared.fallback(labels)]
        self._slots[labels] = slot
        self._groups[labels[0]] += 1
        self.shared.write(self._index, slot, encoded)
        return slot

    def _has_room(self, labels: Labels) -> bool:
        left = self.shared.series - len(self._slots)
        return labels in self.shared.reserved or self._groups[labels[0]] < left

    def _free_slot(self) -> int | None:
        if self._free:
            return self._free.pop()
        used = int(self._used[0])
        if used >= self.shared.series:
            return None
        self._used[0] = used + 1
        return used
