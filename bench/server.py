"""A server that a benchmark has started, in one process or with workers."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.benchmark import BenchmarkError
from bench.machine import cpu_seconds, worker_pids
from tests.controlplane.processes import Child

START_TIMEOUT_SECONDS: Final = 60.0
IMPORTS: Final = {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "operator")}
"""Environment of servers that are measured: with the code beside this file, whichever is installed."""


@dataclass
class Server:
    """It prints `ready` to its log."""

    name: str
    about: str
    port: int
    child: Child
    log: Path

    @property
    def workers(self) -> list[int]:
        return worker_pids(self.child.pid)

    def cpu(self) -> float:
        return sum(cpu_seconds(pid) for pid in self.workers)

    def check(self) -> None:
        """Raise ControlPlaneError if a process has ended."""
        self.child.check()

    async def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while "ready" not in self.log.read_text():
            self.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} was not ready within {START_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(0.05)
