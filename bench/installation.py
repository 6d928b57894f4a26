"""Operator and issuer as the processes that users run, started and ready."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.benchmark import BenchmarkError
from bench.machine import cpu_seconds, peak_mb
from bench.workload import Workload
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import declared_path
from tests.controlplane.processes import Child
from tests.ports import free_port

HOST: Final = "127.0.0.1"
START_TIMEOUT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Installation:
    operator: Child
    issuer: Child
    issuer_port: int

    def check(self) -> None:
        """Raise an error with the end of the log if one of the processes has exited."""
        self.operator.check()
        self.issuer.check()

    def cpu(self) -> dict[str, float]:
        return {"operator": cpu_seconds(self.operator.pid), "issuer": cpu_seconds(self.issuer.pid)}

    def peaks(self) -> tuple[float, float]:
        """Peak memory of operator and issuer, in MB."""
        return peak_mb(self.operator.pid), peak_mb(self.issuer.pid)


@asynccontextmanager
async def run_installation(api: Api, kubeconfig: Path, workload: Workload, logs: Path) -> AsyncIterator[Installation]:
    """Start both processes; yields once the operator leads and the issuer can sign."""
    command = Path(sys.executable).with_name("scopewright")
    operator_port, issuer_port = free_port(), free_port()
    name = f"{workload.run}-{workload.clients}"
    config = logs / f"{name}.yaml"
    url = f"http://{HOST}:{issuer_port}"
    config.write_text(json.dumps({"issuer": url, "name": workload.run, "namespace": workload.system}))
    cluster = f"--kubeconfig={kubeconfig}"
    issuer = operator = None
    try:
        operator = Child(
            [str(command), "operator", cluster, f"--config={config}", f"--listen={HOST}:{operator_port}"],
            log=logs / f"{name}-operator.log",
            cwd=logs,
        )
        issuer = Child(
            [str(command), "issuer", cluster, f"--namespace={workload.system}", f"--listen={HOST}:{issuer_port}"],
            log=logs / f"{name}-issuer.log",
            cwd=logs,
        )
        installation = Installation(operator, issuer, issuer_port)
        await _ready(installation, api, workload, [f"http://{HOST}:{operator_port}/readyz", f"{url}/readyz"])
        yield installation
    finally:
        for child in (operator, issuer):
            if child is not None:
                await asyncio.to_thread(child.stop)


async def _ready(installation: Installation, api: Api, workload: Workload, urls: list[str]) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                while not await _all_ready(http, api, workload, urls):
                    installation.check()
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise BenchmarkError(f"operator and issuer were not ready within {START_TIMEOUT_SECONDS:.0f} s") from None


async def _all_ready(http: httpx.AsyncClient, api: Api, workload: Workload, urls: list[str]) -> bool:
    try:
        answers = [(await http.get(url)).status_code for url in urls]
        key = await api.get(declared_path("SigningKey", workload.system, "default"))
    except (httpx.TransportError, NotFound):
        return False
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in key.get("status", {}).get("conditions", ()))
    return ready and answers == [200] * len(urls)
