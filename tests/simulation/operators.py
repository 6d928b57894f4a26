"""An operator as a simulated process: the real `Operator`, with kopf, HTTP server and randomness replaced."""

import asyncio
import socket
from contextlib import suppress
from typing import Any, cast

from scopewright.controller.operator import Operator
from scopewright.core.config import Config
from scopewright.stores.kubernetes.api import Api
from tests.simulation.kopf_events import KopfEvents
from tests.simulation.lease_pause import LeasePause
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.server import Server


class OperatorProcess(Process):
    """Restarted when `Operator.run` ends, as the kubelet does."""

    def __init__(self, server: Server, config: Config, quiet: LeasePause, *args: Any) -> None:
        super().__init__(*args)
        self.server, self.config, self.lease_pause = server, config, quiet
        self.network: Network | None = None
        self.operator: Operator | None = None
        self.kopf_events: KopfEvents | None = None

    def monotonic(self) -> float:
        return self.lease_pause.monotonic(self)

    @property
    def leads(self) -> bool:
        return self.alive and not self.paused and self.operator is not None and self.operator._lease.leads

    @property
    def idle(self) -> bool:
        """Whether it leads and its queue is empty."""
        queue = self.operator._leader.queue if self.operator else None
        return self.leads and queue is not None and queue.idle

    @property
    def can_lead(self) -> bool:
        """Whether no fault keeps it from acquiring or renewing the Lease."""
        link = self.link
        return self.alive and not (
            self.paused or link.down or link.flaky or link.forbidden or self.writes_until_crash is not None
        )

    async def main(self) -> None:
        incarnation = self.incarnation
        while self.alive and self.incarnation == incarnation:
            self.network = network = Network(self.server, self)
            self.operator = operator = Operator(cast("Api", network), self.config, cast("socket.socket", None))
            with suppress(Exception):  # restarted below
                await operator.run()
            await asyncio.sleep(2.0)

    async def watch(self, network: Network, deliver: Any) -> None:
        """Replaces `controller.watch.watch`."""
        feed = self.kopf_events = KopfEvents(self.server, self, network, deliver)
        try:
            await self.loop.create_future()
        finally:
            feed.close()

    def heal(self) -> None:
        self.link.__init__()  # type: ignore[misc]
        if self.network:
            self.network.heal()
        if self.kopf_events:
            self.kopf_events.drop_rate = 0.0
            self.kopf_events.list()
