"""Who is asked for tokens: the issuer, once for each case, and node oidc-provider; each as processes of its own."""

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from bench import wrk
from bench.benchmark import BenchmarkError
from bench.machine import cpu_seconds, peak_mb
from bench.token_cases import LIFETIME, Case
from bench.token_clients import AUDIENCE, ISSUER, SCOPE, client_id, cluster_jwk, secret
from bench.token_requests import Wanted
from tests.controlplane.processes import Child
from tests.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[1]
_PEER: Final = Path(__file__).with_name("peers")
_START_PATIENCE: Final = 60.0
_INSTALL_PATIENCE: Final = 600.0
_FIRST_GUESS: Final = 10_000
"""For how many requests a second a process is given some that are good once; later on: twice what it took."""
OIDC_PROVIDER: Final = "node oidc-provider"


@dataclass
class Asked:
    """One that is running. `runs` are what it did, a dictionary for each time it was asked.

    `case` and `audit` are the issuer's; the peer gets the requests that the first case has made.
    """

    name: str
    about: str
    port: int
    requests: Path
    child: Child
    log: Path
    case: Case | None = None
    audit: Path | None = None
    memory: Child | None = None
    """The Redis that its processes share."""
    runs: list[dict[str, float]] = field(default_factory=list)
    _given: int = 0
    _fastest: float = 0.0

    async def ask(self, seconds: float) -> wrk.Load:
        """BenchmarkError where anything was answered with something else than what the case is about."""
        read = self.audit.stat().st_size if self.audit else 0
        seen = await wrk.load(self.port, self.requests, seconds, once=self.case is not None and self.case.once)
        self._fastest = max(self._fastest, self._given / seconds if seen.spent else seen.per_second)
        if self.audit and self.case:
            with self.audit.open("rb") as audit:
                audit.seek(read)
                found = audit.read().count(b'"result":"%b"' % self.case.result.encode())
            if found < seen.requests:
                raise BenchmarkError(f"{self.name}: of {seen.requests} answers {found} were {self.case.result}")
        return seen

    async def prepare(self, seconds: float) -> None:
        """Before each run: what is sent in it. The issuer must be ready."""
        if self.case is None or (self._given and not self.case.once):
            return
        rate = 2 * self._fastest or _FIRST_GUESS * len(self.workers)
        wanted = Wanted(self.case.clients, ceil(rate * seconds), self.port)
        made = await asyncio.to_thread(self.case.requests, wanted)
        await asyncio.to_thread(wrk.write_requests, self.requests, made)
        self._given = len(made)

    def stop(self) -> None:
        self.child.stop()
        if self.memory:
            self.memory.stop()

    @property
    def workers(self) -> list[int]:
        """The processes that answer: children of the one that was started, or that one itself."""
        pid = self.child.pid
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(worker) for worker in found] or [pid]

    def cpu(self) -> float:
        return sum(cpu_seconds(pid) for pid in self.workers)

    def peak_mb(self) -> float:
        """Of the largest worker."""
        return max(peak_mb(pid) for pid in self.workers)

    async def until_ready(self) -> None:
        deadline = time.monotonic() + _START_PATIENCE
        while "ready" not in self.log.read_text():
            self.child.check()
            if self.memory:
                self.memory.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} was not ready within {_START_PATIENCE:.0f} s")
            await asyncio.sleep(0.05)

    def seconds_until_ready(self) -> float:
        """As the issuer has told: from the start of its workers until all of them serve."""
        line = next(line for line in self.log.read_text().splitlines() if line.startswith("ready after"))
        return float(line.split()[2])


def start_issuer(case: Case, workers: int, folder: Path) -> Asked:
    port, log = free_port(), folder / f"{case.name}.log"
    audit, requests = folder / f"{case.name}.audit", folder / f"{case.name}.requests"
    command = [sys.executable, "-m", "bench.token_issuer", case.name]
    command += [f"--port={port}", f"--workers={workers}", f"--audit={audit}"]
    memory = None
    if case.method == "ServiceAccount":
        command.append(f"--cluster-jwk={json.dumps(cluster_jwk())}")
    if case.once:
        at = free_port()
        memory = _start_memory(at, folder)
        command.append(f"--replay=redis://127.0.0.1:{at}/0")
    child = Child(command, log=log, cwd=ROOT)
    return Asked(case.name, case.about, port, requests, child, log, case, audit, memory)


def _start_memory(port: int, folder: Path) -> Child:
    """What several workers need where something may be used once only."""
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        raise BenchmarkError("neither Valkey nor Redis is installed: apt-get install redis-server, or choose --case")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Child(command, log=folder / "redis.log", cwd=folder)


def start_oidc_provider(like: Asked, case: Case, workers: int, folder: Path) -> Asked:
    """Asked with the very requests that the issuer gets in this case."""
    port, log, settings = free_port(), folder / "oidc-provider.log", folder / "oidc-provider.json"
    clients = [(client_id(n), secret(n)) for n in range(case.clients)]
    content = {"port": port, "workers": workers, "issuer": ISSUER, "audience": AUDIENCE, "scope": SCOPE}
    settings.write_text(json.dumps({**content, "lifetime": LIFETIME, "jwk": _private_jwk(), "clients": clients}))
    node = shutil.which("node")
    assert node is not None
    command = [node, str(folder / "peers" / "oidc-provider.mjs"), str(settings)]
    return Asked("oidc-provider", OIDC_PROVIDER, port, like.requests, Child(command, log=log, cwd=folder), log)


def install_oidc_provider(folder: Path) -> None:
    """From npm, into the folder."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise BenchmarkError("node and npm are not installed: install them, or pass --no-peer")
    shutil.copytree(_PEER, folder / "peers")
    command = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"]
    try:
        done = subprocess.run(
            command, cwd=folder / "peers", capture_output=True, text=True, check=False, timeout=_INSTALL_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"npm install: did not end within {_INSTALL_PATIENCE:.0f} s") from None
    if done.returncode:
        raise BenchmarkError(f"npm install: {done.stderr.strip()}")


def _private_jwk() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    values = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    encoded = {n: base64.urlsafe_b64encode(v.to_bytes(32)).decode().rstrip("=") for n, v in values.items()}
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", **encoded}
