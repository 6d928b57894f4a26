"""Operators and issuers as processes that are killed at random and restarted."""

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
START_TIMEOUT_SECONDS: Final = 60.0


class Replica:
    """A `scopewright …` process that can be restarted at the same port."""

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
        """Send SIGKILL."""
        if self._child is not None:
            await asyncio.to_thread(self._child.kill)

    async def stop(self) -> None:
        if self._child is not None:
            await asyncio.to_thread(self._child.stop)

    async def freeze(self) -> None:
        """Send SIGSTOP: the process is suspended until `resume`."""
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGSTOP)

    async def resume(self) -> None:
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGCONT)

    async def leads(self, http: httpx.AsyncClient) -> bool:
        """Whether this operator reports itself as leader in its metrics."""
        metrics = await self._get(http, "/metrics")
        return metrics is not None and b"\nscopewright_leader 1.0" in metrics.content

    async def wait_until_alive(self, http: httpx.AsyncClient) -> None:
        await self._until(http, "/healthz")

    async def wait_until_ready(self, http: httpx.AsyncClient) -> None:
        await self._until(http, "/readyz")

    async def _until(self, http: httpx.AsyncClient, path: str) -> None:
        assert self._child is not None
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while (response := await self._get(http, path)) is None or response.status_code != 200:
            self._child.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} did not answer {path} with 200 within {START_TIMEOUT_SECONDS:.0f} s")
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
        """The issuers' ports."""
        return [replica.port for replica in self.issuers]

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[0]}"

    async def kill_issuers(self, pauses: tuple[float, float], random: Random, counts: Counts) -> None:
        """Run forever: restart one issuer at a time, when all are ready, so that one of the two always runs."""
        while True:
            await asyncio.sleep(random.uniform(*pauses))
            for replica in self.issuers:
                await replica.wait_until_ready(self.http)
            counts.issuer_kills += 1
            await _restart(random.choice(self.issuers), random, counts)

    async def kill_operators(self, pauses: tuple[float, float], random: Random, counts: Counts) -> None:
        """Run forever: restart one operator at a time, leader or not.

        It does not wait for readiness: an operator is ready only as leader, after the Lease of a killed one expires.
        """
        while True:
            await asyncio.sleep(random.uniform(*pauses))
            counts.operator_kills += 1
            await _restart(random.choice(self.operators), random, counts)


async def _restart(replica: Replica, random: Random, counts: Counts) -> None:
    """Kill and start the replica. A cancellation is raised only after the start, so that every replica runs."""

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
    """Start two issuers with snapshots and the operators; yields once the issuers are ready."""
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
    operator_replicas = [
        Replica(f"operator-{n}", ["operator", cluster, f"--config={config}"], logs) for n in range(operators)
    ]
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        running = Replicas(issuers, operator_replicas, http)
        named = {"issuer": running.url, "name": workload.run, "namespace": workload.system}
        config.write_text(json.dumps({**named, **settings}))
        try:
            for replica in (*operator_replicas, *issuers):
                await replica.start()
            for replica in issuers:
                await replica.wait_until_ready(http)
            yield running
        finally:
            await asyncio.gather(*(replica.stop() for replica in (*issuers, *operator_replicas)))
