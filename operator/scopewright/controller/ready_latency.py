"""How long declared objects take from their last change to Ready."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scopewright.core.declared import Declared
from scopewright.core.objects import Ref

BecameReady = Callable[[str, float], None]
"""Takes a kind and seconds."""


class ReadyLatency:
    """Told of every status; an object counts once for each generation.

    What only its user could help (Stalled) does not count until it is changed: it says nothing about the operator.
    Nor does what was not seen to become Ready, because it did so before this process began.
    """

    def __init__(self, clock: Callable[[], datetime], became_ready: BecameReady) -> None:
        self._clock = clock
        self._became_ready = became_ready
        self._waiting: dict[Ref, int] = {}
        """Objects that are on their way, at this generation."""

    def finished(self, key: Ref, obj: Declared | None, status: Mapping[str, Any] | None) -> None:
        """A reconciliation is over; `obj` is as it was before its status was written."""
        waited = self._waiting.pop(key, None)
        if obj is None or status is None:
            return
        generation = obj.metadata.generation or 0
        said = {c["type"]: c["status"] for c in status.get("conditions", ())}
        new = obj.status is None or obj.status.observed_generation != generation
        if not new and waited != generation:
            return
        if said.get("Ready") == "True":
            if since := obj.metadata.applied_time:
                self._became_ready(obj.KIND, max((self._clock() - since).total_seconds(), 0.0))
        elif said.get("Stalled") != "True":
            self._waiting[key] = generation
