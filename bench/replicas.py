"""Operators and issuers as real processes that are killed at random and started again."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx

from bench.benchmark import BenchmarkError
from bench.counts import Counts
from bench.workload import Workload
from tests.controlplane.processes import Child
from tests.ports import free_port

HOST: Final = "127.0.0.1"
START_PATIENCE: Final = 60.0


class Replica:
    """A `scopewright …` process, and its successors at the same port."""

    def __init__(self, name: str, arguments: Sequence[str], logs: Path) -> None:
        self.name = name
        self.port = free_port()
        command = str(Path(sys.executable).with_name("scopewright"))
        self._command = [command, *arguments, f"--listen={HOST}:{self.port}"]
        self._logs = logs
        self._child: Child | None = None

    async def start(self) -> None:
        log = self._logs / f"{self.name}.log"
        self._child = await asyncio.to_thread(Child, self._command, log=log, cwd=self._logs)

    async def kill(self) -> None:
        """SIGKILL."""
        if self._child is not None:
            await asyncio.to_thread(self._child.kill)

    async def stop(self) -> None:
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)

    async def freeze(self) -> None:
        """SIGSTOP: it does nothing until it wakes, and knows nothing of the time between."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGSTOP)

    async def wake(self) -> None:
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGCONT)

    async def leads(self, http: httpx.AsyncClient) -> bool:
        """Of an operator: whether it says so."""
        metrics = await self._get(http, "/metrics")
        return metrics is not None and b"\nscopewright_leader 1.0" in metrics.content

    async def until_it_answers(self, http: httpx.AsyncClient) -> None:
        await self._until(http, "/healthz")

    async def until_ready(self, http: httpx.AsyncClient) -> None:
        await self._until(http, "/readyz")

    async def _until(self, http: httpx.AsyncClient, path: str) -> None:
        assert self._child is not None
        deadline = time.monotonic() + START_PATIENCE
        while (answer := await self._get(http, path)) is None or answer.status_code != 200:
            self._child.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} did not say 200 at {path} within {START_PATIENCE:.0f} s")
            await asyncio.sleep(0.05)

    async def _get(self, http: httpx.AsyncClient, path: str) -> httpx.Response | None:
        try:
            return await http.get(f"http://{HOST}:{self.port}{path}", timeout=1)
        except httpx.TransportError:
            return None


@dataclass(frozen=True, slots=True)
class Replicas:
    issuers: list[Replica]
    operators: list[Replica]
    http: httpx.AsyncClient

    @property
    def ports(self) -> list[int]:
        """Of the issuers."""
        return [replica.port for replica in self.issuers]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[0]}"

    async def kill_issuers(self, pauses: tuple[float, float], random: Random, counts: Counts) -> None:
        """For ever, one at a time: the next only once all are ready, as at most one of two replicas may be gone."""
        while True:
            await asyncio.sleep(random.uniform(*pauses))
            for replica in self.issuers:
                await replica.until_ready(self.http)
            counts.issuer_kills += 1
            await _restart(random.choice(self.issuers), random, counts)

    async def kill_operators(self, pauses: tuple[float, float], random: Random, counts: Counts) -> None:
        """For ever, whichever leads: none is ready before it has led, and the Lease of a dead one has to end first."""
        while True:
            await asyncio.sleep(random.uniform(*pauses))
            counts.operator_kills += 1
            await _restart(random.choice(self.operators), random, counts)


async def _restart(replica: Replica, random: Random, counts: Counts) -> None:
    """To its end, even if the killing ends meanwhile: what is measured next finds every replica started."""

    async def restart() -> None:
        counts.killed.append((time.time(), replica.name))
        await replica.kill()
        await asyncio.sleep(random.uniform(0, 1.5))
        await replica.start()

    restarting = asyncio.ensure_future(restart())
    try:
        await asyncio.shield(restarting)
    except asyncio.CancelledError:
        await restarting
        raise


@asynccontextmanager
async def replicas(
    kubeconfig: Path, workload: Workload, settings: dict[str, Any], logs: Path, *, operators: int
) -> AsyncIterator[Replicas]:
    """Two issuers with snapshots, and the operators; all of them ready, or on their way."""
    cluster, namespace = f"--kubeconfig={kubeconfig}", f"--namespace={workload.system}"
    issuers = [
        Replica(
            name,
            ["issuer", cluster, namespace, f"--snapshot={logs / name}.snapshot", "--usage-every=5"],
            logs,
        )
        for name in ("issuer-a", "issuer-b")
    ]
    config = logs / "config.yaml"
    both = [Replica(f"operator-{n}", ["operator", cluster, f"--config={config}"], logs) for n in range(operators)]
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        found = Replicas(issuers, both, http)
        named = {"issuer": found.url, "name": workload.run, "namespace": workload.system}
        config.write_text(json.dumps({**named, **settings}))
        try:
            for replica in (*both, *issuers):
                await replica.start()
            for replica in issuers:
                await replica.until_ready(http)
            yield found
        finally:
            await asyncio.gather(*(replica.stop() for replica in (*issuers, *both)))
