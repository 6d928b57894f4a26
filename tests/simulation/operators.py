"""An operator as a simulated process: the real `Operator`, kopf, HTTP server and randomness aside."""

import asyncio
import socket
from typing import Any, cast

from scopewright.controller.operator import Operator
from scopewright.core.config import Config
from scopewright.stores.kubernetes.api import Api
from tests.simulation.feed import Feed
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.quiet import Quiet
from tests.simulation.server import Server


class OperatorProcess(Process):
    """Ends when `Operator.run` does, and is started again by its kubelet."""

    def __init__(self, server: Server, config: Config, quiet: Quiet, *args: Any) -> None:
        super().__init__(*args)
        self.server, self.config, self.quiet = server, config, quiet
        self.network: Network | None = None
        self.operator: Operator | None = None
        self.feed: Feed | None = None
        self.restarts = 0

    def monotonic(self) -> float:
        return self.quiet.monotonic(self)

    @property
    def leads(self) -> bool:
        return self.alive and not self.paused and self.operator is not None and self.operator._lease.leads

    @property
    def idle(self) -> bool:
        """Whether it leads and nothing waits to be reconciled."""
        queue = self.operator._queue if self.operator else None
        return self.leads and queue is not None and queue.idle

    @property
    def unharmed(self) -> bool:
        """Whether nothing keeps it from renewing, or from wanting, the Lease."""
        link = self.link
        return self.alive and not (
            self.paused or link.down or link.flaky or link.forbidden or self.crash_in is not None
        )

    async def main(self) -> None:
        incarnation = self.incarnation
        while self.alive and self.incarnation == incarnation:
            self.network = network = Network(self.server, self)
            self.operator = operator = Operator(cast("Api", network), self.config, cast("socket.socket", None))
            try:
                await operator.run()
            except Exception:
                self.restarts += 1
            await asyncio.sleep(2.0)

    async def watch(self, network: Network, deliver: Any) -> None:
        """In place of `controller.watch.watch`."""
        feed = self.feed = Feed(self.server, self, network, deliver)
        try:
            await self.loop.create_future()
        finally:
            feed.close()

    def heal(self) -> None:
        self.link.__init__()  # type: ignore[misc]
        if self.network:
            self.network.heal()
        if self.feed:
            self.feed.dropping = 0.0
            self.feed.list()
