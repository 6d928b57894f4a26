"""An issuer as a simulated process: the real `Issuer` over the real `KubernetesStore`, its snapshot in memory."""

import asyncio
from pathlib import Path
from typing import Any, cast

from scopewright.issuer.build import IssuerSettings, Runtime, build_issuer
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.service import Issuer
from scopewright.issuer.state import snapshot
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import KubernetesStore
from tests.simulation.loop import RUNNING
from tests.simulation.network import Network
from tests.simulation.process import Process
from tests.simulation.server import Server

REPORTS_EVERY = 3600.0
"""Seconds; scaled as the resync is."""


NEVER = 1e9
CAUGHT_UP = 400.0
"""Seconds after the last trouble when an issuer has tried again whatever failed: see `patches.SLOWEST`."""
LISTED = 4.0
"""Seconds after its start when an issuer without trouble has all lists."""


class Disk:
    """What is left of an issuer when its process is dead: the snapshot, where there is one."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def read_bytes(self) -> bytes:
        if self.content is None:
            raise FileNotFoundError
        return self.content


class MemorySnapshots(snapshot.SnapshotFile):
    """Writes to a Disk, and nothing once the process is dead."""

    def __init__(self, path: Path, **_: Any) -> None:
        super().__init__(path)
        self._process = cast("IssuerProcess", RUNNING.get())
        self._incarnation = self._process.incarnation

    def _write(self, content: bytes) -> None:
        if self._process.alive and self._process.incarnation == self._incarnation:
            cast("Disk", self._path).content = content


class SnapshotAsyncio:
    """In place of the module `asyncio` in `issuer.snapshot`: no threads."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def to_thread(function: Any, *args: Any) -> Any:
        return function(*args)


async def _answer(issuer: Issuer, http: HttpRequest) -> Answer:
    decided = issuer.decide(http)
    return decided if isinstance(decided, Answer) else await decided


class IssuerProcess(Process):
    def __init__(self, server: Server, namespace: str, sink: Any, *args: Any) -> None:
        super().__init__(*args)
        self.server, self.namespace, self.sink = server, namespace, sink
        self.disk = Disk()
        self.reports = False
        """Whether it reports which credentials are used."""
        self.issuer: Issuer | None = None
        self.network: Network | None = None
        self.down_since: float | None = None
        self.behind_since: float | None = None
        """When it lost the store, or started without: until it has caught up its knowledge may be that old."""

    async def main(self) -> None:
        self.network = Network(self.server, self)
        store = KubernetesStore(cast("Api", self.network))
        settings = IssuerSettings(
            self.namespace,
            snapshot=cast("Path", self.disk),
            usage_interval=REPORTS_EVERY if self.reports else NEVER,
        )
        runtime = Runtime(self.time, self.monotonic, self.chance.randbytes)
        self.issuer = build_issuer(settings, store, writer=store, sink=self.sink, runtime=runtime)
        async with self.issuer.running():
            await self.loop.create_future()

    @property
    def in_step_since(self) -> float:
        """Since when it knows, but for a moment, what everybody may know; infinite while it does not."""
        if not self.alive or self.network is None or not self.link.whole:
            return float("inf")
        return max(self.began + LISTED, self.network.troubled + CAUGHT_UP)

    def cut_off(self) -> None:
        self.link.down = True
        self.behind_since = self.behind_since if self.behind_since is not None else self.loop.now
        if self.network:
            self.network.disconnect()

    def heal(self) -> None:
        self.link.__init__()  # type: ignore[misc]
        if self.network:
            self.network.heal()

    async def answer(self, http: HttpRequest) -> Answer | None:
        """None where nobody listens."""
        if not self.alive or self.paused or self.issuer is None:
            return None
        return cast("Answer", await self.spawn(_answer(self.issuer, http)))
