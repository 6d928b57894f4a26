"""Measures the time from the last change of a declared object until it is Ready."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from scopewright.core.declared import Declared
from scopewright.core.objects import Ref

BecameReady = Callable[[str, float], None]
"""Takes a kind and seconds."""


class ReadyLatency:
    """Measures each generation of an object once.

    A Stalled object is not measured until its user changes it: the time says nothing about the operator. Neither is an
    object that became Ready before this process started.
    """

    def __init__(self, clock: Callable[[], datetime], became_ready: BecameReady) -> None:
        self._clock = clock
        self._became_ready = became_ready
        self._waiting: dict[Ref, int] = {}
        """Objects that are not Ready yet, by the generation that is measured."""

    def finished(self, key: Ref, obj: Declared | None, status: Mapping[str, Any] | None) -> None:
        """Called after each reconciliation; `obj` is as it was before its status was written."""
        waited = self._waiting.pop(key, None)
        if obj is None or status is None:
            return
        generation = obj.metadata.generation or 0
        conditions = {c["type"]: c["status"] for c in status.get("conditions", ())}
        new = obj.status is None or obj.status.observed_generation != generation
        if not new and waited != generation:
            return
        if conditions.get("Ready") == "True":
            if since := obj.metadata.applied_time:
                self._became_ready(obj.KIND, max((self._clock() - since).total_seconds(), 0.0))
        elif conditions.get("Stalled") != "True":
            self._waiting[key] = generation
