"""Replaces kopf: events of declared objects, in order for one object, in any order across objects.

While `drop_rate` is not 0, events are dropped, and the last ones of an object come again. After a broken connection it
lists again without reporting deletions, as kopf does.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.server import DECLARED, Event, Server

WATCHED = (*DECLARED, "namespaces")
Deliver = Callable[[str | None, Mapping[str, Any]], None]
COME_AGAIN = 3
"""Events of one object at most, when kopf continues from an older version."""


class KopfEvents:
    drop_rate = 0.0

    def __init__(self, server: Server, process: Process, network: Network, deliver: Deliver) -> None:
        self._server, self._process, self._network, self._deliver = server, process, network, deliver
        self._last: dict[Any, float] = {}
        self._recent: dict[Any, deque[Event]] = {}
        self._subscriptions = [(plural, self._on_event) for plural in WATCHED]
        server.subscribers.extend(self._subscriptions)
        self.list()

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._server.subscribers.remove(subscription)

    def list(self) -> None:
        for plural in WATCHED:
            for raw in list(self._server.all(plural).values()):
                self._deliver_later(None, raw)

    def _on_event(self, event: Event) -> None:
        if self._process.link.down or self._process.rng.random() < self.drop_rate:
            return
        self._deliver_later(event.type, event.object)
        recent = self._recent.setdefault(_key(event.object), deque(maxlen=COME_AGAIN))
        recent.append(event)
        if self.drop_rate and self._process.rng.random() < 0.1:
            for again in recent:
                self._deliver_later(again.type, again.object)

    def _deliver_later(self, type_: str | None, raw: Mapping[str, Any]) -> None:
        process, key = self._process, _key(raw)
        late = process.rng.uniform(0.01, 0.1) + process.rng.random() * process.link.slow
        at = max(self._last.get(key, 0.0) + 1e-5, process.loop.now + late)
        self._last[key] = at
        process.loop.call_at(at, self._arrive, type_, raw, context=process.context)

    def _arrive(self, type_: str | None, raw: Mapping[str, Any]) -> None:
        if not self._network.cut and not self._process.link.down:
            self._deliver(type_, raw)


def _key(raw: Mapping[str, Any]) -> Any:
    meta = raw["metadata"]
    return raw["kind"], meta.get("namespace"), meta["name"]
