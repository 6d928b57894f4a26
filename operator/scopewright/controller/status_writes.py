"""The operator's own status writes that are not answered yet: their events are held back until the answer is known.

A watch often reports a status before the answer to its write arrives. Handled at once, each such event would be parsed,
put into the cache and reconciled, although the answer says the same.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scopewright.core.objects import Ref

Raw = Mapping[str, Any]


class StatusWrites:
    """`deliver` handles an event that was held back; it ignores one whose version is known."""

    def __init__(self) -> None:
        self.deliver: Callable[[Raw], None] = lambda raw: None
        self._held: dict[Ref, Raw | None] = {}
        """The latest event of each object whose status is being written."""

    @contextmanager
    def writing(self, ref: Ref) -> Iterator[None]:
        """While the write waits for its answer. Put the answer into the cache before the end: what was held back is
        delivered then, also after a failure.
        """
        self._held[ref] = None
        try:
            yield
        finally:
            if (raw := self._held.pop(ref)) is not None:
                self.deliver(raw)

    def is_written(self, ref: Ref) -> bool:
        return ref in self._held

    def hold(self, ref: Ref, raw: Raw) -> None:
        """Hold back the event. `is_written` must be true, and earlier events of the object are replaced."""
        self._held[ref] = raw

    def forget(self, ref: Ref) -> None:
        """The object was deleted, or a later event was delivered: drop what is held back."""
        if ref in self._held:
            self._held[ref] = None
