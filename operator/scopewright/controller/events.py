"""Records `events.k8s.io/v1` in the background, at a limited rate; events that do not fit are dropped."""

import asyncio
import logging
import uuid
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from scopewright.api import API_VERSION
from scopewright.core.declared import Declared, ref_of
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.plan import Event
from scopewright.logs import log_fields
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api

MAX_PENDING_EVENTS: Final = 5000
"""Of warnings, and of others."""
EVENTS_PER_SECOND: Final = 20
"""Of warnings, and of others."""
MAX_NOTE_LENGTH: Final = 1024

_Pending = asyncio.Queue[dict[str, Any]]

log = logging.getLogger(__name__)


class LogRecorder:
    """A `reconcile.Recorder` that only logs, for use without an API server.

    `printed` are kinds whose problems the process prints: their events are not warnings in the log too.
    """

    def __init__(self, printed: Collection[str] = ()) -> None:
        self._printed = printed

    def record(self, obj: Declared, event: Event) -> None:
        level = logging.WARNING if event.warning and obj.KIND not in self._printed else logging.INFO
        ref = ref_of(obj)
        log.log(level, "%s: %s: %s", ref, event.reason, event.message, extra=log_fields(ref, reason=event.reason))


class EventRecorder:
    """A `reconcile.Recorder` that logs and posts: many events must not delay reconciliation, nor warnings wait for
    others.
    """

    def __init__(self, api: Api, instance: str) -> None:
        self._api = api
        self._instance = instance
        self._warnings, self._normal = _Pending(MAX_PENDING_EVENTS), _Pending(MAX_PENDING_EVENTS)

    def record(self, obj: Declared, event: Event) -> None:
        LogRecorder().record(obj, event)
        regarding = {"kind": obj.KIND, "name": obj.name, "namespace": obj.namespace, "uid": obj.uid}
        self.record_about({"apiVersion": API_VERSION, **regarding}, event)

    def record_about(self, regarding: Mapping[str, Any], event: Event) -> None:
        """`regarding` is an ObjectReference, with a namespace."""
        try:
            (self._warnings if event.warning else self._normal).put_nowait(self._event(regarding, event))
        except asyncio.QueueFull:
            log.debug("an event was dropped: too many are pending")

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._post_all(self._warnings))
            group.create_task(self._post_all(self._normal))

    async def _post_all(self, pending: _Pending) -> None:
        while True:
            await self._post(await pending.get())
            await asyncio.sleep(1 / EVENTS_PER_SECOND)

    async def _post(self, event: dict[str, Any]) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{event['metadata']['namespace']}/events"
        try:
            await self._api.request("POST", path, body=event)
        except (Conflict, NotFound, Rejected, Unavailable) as error:
            log.debug("an event was not posted: %s", error)

    def _event(self, regarding: Mapping[str, Any], event: Event) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{regarding['name']}.{uuid.uuid4().hex[:16]}",
                "namespace": regarding["namespace"],
            },
            "eventTime": now,
            "reportingController": "scopewright.dev/operator",
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "reason": event.reason,
            "note": event.message[:MAX_NOTE_LENGTH],
            "type": "Warning" if event.warning else "Normal",
            "regarding": dict(regarding),
        }
