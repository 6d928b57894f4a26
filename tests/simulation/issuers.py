"""An issuer as a simulated process: the real `Issuer` and `KubernetesStore`, with the snapshot in memory."""

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

USAGE_INTERVAL_SECONDS = 3600.0
"""Scaled as the resync is."""


NEVER = 1e9
CATCH_UP_SECONDS = 400.0
"""Seconds after the last failure when an issuer has retried everything: see `patches.FOLLOW_PAUSE_SECONDS`."""
LIST_SECONDS = 4.0
"""Seconds after its start when an issuer without failures has all lists."""


class Disk:
    """The snapshot file, which outlives the issuer's process."""

    def __init__(self) -> None:
        self.content: bytes | None = None

    def read_bytes(self) -> bytes:
        if self.content is None:
            raise FileNotFoundError
        return self.content


class MemorySnapshots(snapshot.SnapshotFile):
    """Writes to a Disk while the process is alive."""

    def __init__(self, path: Path, **_: Any) -> None:
        super().__init__(path)
        self._process = cast("IssuerProcess", RUNNING.get())
        self._incarnation = self._process.incarnation

    def _write(self, content: bytes) -> None:
        if self._process.alive and self._process.incarnation == self._incarnation:
            cast("Disk", self._path).content = content


class SnapshotAsyncio:
    """Replaces the module `asyncio` in `issuer.state.snapshot`: no threads."""

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
        self.server, self.namespace, self.write_audit_line = server, namespace, sink
        self.disk = Disk()
        self.reports_usage = False
        """Whether it writes the usage report."""
        self.issuer: Issuer | None = None
        self.network: Network | None = None
        self.down_since: float | None = None
        self.stale_since: float | None = None
        """Since when its registry may be out of date; None if it has caught up."""

    async def main(self) -> None:
        self.network = Network(self.server, self)
        store = KubernetesStore(cast("Api", self.network))
        settings = IssuerSettings(
            self.namespace,
            snapshot=cast("Path", self.disk),
            usage_interval=USAGE_INTERVAL_SECONDS if self.reports_usage else NEVER,
        )
        runtime = Runtime(self.time, self.monotonic, self.rng.randbytes)
        self.issuer = build_issuer(settings, store, writer=store, sink=self.write_audit_line, runtime=runtime)
        async with self.issuer.running():
            await self.loop.create_future()

    @property
    def up_to_date_since(self) -> float:
        """Since when it has followed all records; infinite while it does not."""
        if not self.alive or self.network is None or not self.link.healthy:
            return float("inf")
        return max(self.started + LIST_SECONDS, self.network.last_failure + CATCH_UP_SECONDS)

    def cut_off(self) -> None:
        self.link.down = True
        self.stale_since = self.stale_since if self.stale_since is not None else self.loop.now
        if self.network:
            self.network.disconnect()

    def heal(self) -> None:
        self.link.__init__()  # type: ignore[misc]
        if self.network:
            self.network.heal()

    async def answer(self, http: HttpRequest) -> Answer | None:
        """None if the issuer is down or suspended."""
        if not self.alive or self.paused or self.issuer is None:
            return None
        return cast("Answer", await self.spawn(_answer(self.issuer, http)))
