"""The servers of `tokens`, each in its own processes; and the issuer, once for each case."""

import asyncio
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Final

from bench import wrk
from bench.benchmark import BenchmarkError
from bench.machine import peak_mb
from bench.server import IMPORTS, Server
from bench.token_cases import Case
from bench.token_clients import cluster_jwk
from bench.token_requests import RequestBatch
from tests.controlplane.processes import Child
from tests.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[1]
_INITIAL_RATE: Final = 10_000
"""Requests a second for which the first run of a process is prepared; later runs: twice the fastest so far."""


@dataclass
class TokenServer(Server):
    """A running server. `runs` has the figures of each run.

    Only the issuer has `case` and `audit`; the other servers get the requests of one of its cases.
    """

    requests: Path
    case: Case | None = None
    audit: Path | None = None
    replay_server: Child | None = None
    """The Redis or Valkey that its processes share."""
    replay_port: int | None = None
    clients: int = 0
    """How many clients' requests it gets, if it remembers what it has seen."""
    runs: list[dict[str, float]] = field(default_factory=list)
    _prepared: int = 0
    _fastest: float = 0.0

    async def run_load(self, seconds: float) -> wrk.LoadResult:
        """Send the requests with wrk. BenchmarkError if an audit line has another result than that of the case."""
        read = self.audit.stat().st_size if self.audit else 0
        load = await wrk.run_load(self.port, self.requests, seconds, once=self.case is not None and self.case.once)
        self._fastest = max(self._fastest, self._prepared / seconds if load.exhausted else load.per_second)
        if self.audit and self.case:
            with self.audit.open("rb") as audit:
                audit.seek(read)
                matching = audit.read().count(b'"result":"%b"' % self.case.result.encode())
            if matching < load.requests:
                raise BenchmarkError(f"{self.name}: only {matching} of {load.requests} were {self.case.result}")
        return load

    async def prepare(self, seconds: float) -> None:
        """Write the requests of the next run. The issuer must be ready."""
        if self.case is None or (self._prepared and not self.case.once):
            return
        rate = 2 * self._fastest or _INITIAL_RATE * len(self.workers)
        batch = RequestBatch(self.case.clients, ceil(rate * seconds), self.port)
        made = await asyncio.to_thread(self.case.requests, batch)
        await asyncio.to_thread(wrk.write_requests, self.requests, made)
        self._prepared = len(made)

    def stop(self) -> None:
        self.child.stop()
        if self.replay_server:
            self.replay_server.stop()

    def check(self) -> None:
        super().check()
        if self.replay_server:
            self.replay_server.check()

    def peak_mb(self) -> float:
        """Peak memory of the largest worker, in MB."""
        return max(peak_mb(pid) for pid in self.workers)

    def seconds_until_ready(self) -> float:
        """From the start of the workers until all serve, as the issuer logs it."""
        line = next(line for line in self.log.read_text().splitlines() if line.startswith("ready after"))
        return float(line.split()[2])


def start_issuer(case: Case, workers: int, folder: Path) -> TokenServer:
    port, log = free_port(), folder / f"{case.name}.log"
    audit, requests = folder / f"{case.name}.audit", folder / f"{case.name}.requests"
    command = [sys.executable, "-m", "bench.token_issuer", case.name]
    command += [f"--port={port}", f"--workers={workers}", f"--audit={audit}", f"--clients={case.clients}"]
    replay_server = replay_port = None
    if case.method == "ServiceAccount":
        command.append(f"--cluster-jwk={json.dumps(cluster_jwk())}")
    if case.once:
        replay_port = free_port()
        replay_server = start_redis(replay_port, folder)
        command.append(f"--replay=redis://127.0.0.1:{replay_port}/0")
    child = Child(command, log=log, cwd=ROOT, environment=IMPORTS)
    return TokenServer(
        case.name, case.about, port, child, log, requests, case, audit, replay_server, replay_port, case.clients
    )


def start_redis(port: int, folder: Path, prefix: Sequence[str] = ()) -> Child:
    """Start a Redis or Valkey without persistence. `prefix` is that of the command."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise BenchmarkError("neither Valkey nor Redis is installed: apt-get install redis-server")
    command = [*prefix, program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Child(command, log=folder / "redis.log", cwd=folder)
