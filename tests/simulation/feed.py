"""What kopf does for the operator: events about what is declared, each object's in order, objects in any order.

It drops and repeats events while `dropping`, and after a broken connection lists anew without telling of deletions.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.server import DECLARED, Event, Server

WATCHED = (*DECLARED, "namespaces")
Deliver = Callable[[str | None, Mapping[str, Any]], None]


class Feed:
    dropping = 0.0

    def __init__(self, server: Server, process: Process, network: Network, deliver: Deliver) -> None:
        self._server, self._process, self._network, self._deliver = server, process, network, deliver
        self._last: dict[Any, float] = {}
        self._tells = [(plural, self._tell) for plural in WATCHED]
        server.watchers.extend(self._tells)
        self.list()

    def close(self) -> None:
        for told in self._tells:
            self._server.watchers.remove(told)

    def list(self) -> None:
        for plural in WATCHED:
            for raw in list(self._server.all(plural).values()):
                self._later(None, raw)

    def _tell(self, event: Event) -> None:
        if self._process.link.down or self._process.chance.random() < self.dropping:
            return
        self._later(event.type, event.object)
        if self.dropping and self._process.chance.random() < 0.1:
            self._later(event.type, event.object)

    def _later(self, type_: str | None, raw: Mapping[str, Any]) -> None:
        process, meta = self._process, raw["metadata"]
        key = (raw["kind"], meta.get("namespace"), meta["name"])
        late = process.chance.uniform(0.01, 0.1) + process.chance.random() * process.link.slow
        at = max(self._last.get(key, 0.0) + 1e-5, process.loop.now + late)
        self._last[key] = at
        process.loop.call_at(at, self._arrive, type_, raw, context=process.context)

    def _arrive(self, type_: str | None, raw: Mapping[str, Any]) -> None:
        if not self._network.cut and not self._process.link.down:
            self._deliver(type_, raw)
