"""Who is asked for tokens: the issuer, once for each case, and node oidc-provider; each as processes of its own."""

import asyncio
import base64
import json
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec

from bench import wrk
from bench.benchmark import BenchmarkError
from bench.machine import cpu_seconds, peak_mb
from bench.token_cases import AUDIENCE, ISSUER, LIFETIME, SCOPE, Case, client_name, secret
from tests.controlplane.processes import Child

ROOT: Final = Path(__file__).resolve().parents[1]
_PEER: Final = Path(__file__).with_name("peers")
_START_PATIENCE: Final = 60.0
OIDC_PROVIDER: Final = "node oidc-provider"


@dataclass
class Asked:
    """One that is running. `runs` are what it did, a dictionary for each time it was asked."""

    name: str
    about: str
    port: int
    requests: Path
    child: Child
    log: Path
    runs: list[dict[str, float]] = field(default_factory=list)

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
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.name} was not ready within {_START_PATIENCE:.0f} s")
            await asyncio.sleep(0.05)

    def seconds_until_ready(self) -> float:
        """As the issuer has told: from the start of its workers until all of them serve."""
        line = next(line for line in self.log.read_text().splitlines() if line.startswith("ready after"))
        return float(line.split()[2])


def start_issuer(case: Case, workers: int, folder: Path) -> Asked:
    port, log = _free_port(), folder / f"{case.name}.log"
    command = [sys.executable, "-m", "bench.token_issuer", case.name]
    command += [f"--port={port}", f"--workers={workers}", f"--audit={folder / case.name}.audit"]
    requests = folder / f"{case.name}.requests"
    wrk.write_requests(requests, case.requests(case.clients))
    return Asked(case.name, case.about, port, requests, Child(command, log=log, cwd=ROOT), log)


def start_oidc_provider(like: Asked, case: Case, workers: int, folder: Path) -> Asked:
    """Asked with the very requests that the issuer gets in this case."""
    port, log, settings = _free_port(), folder / "oidc-provider.log", folder / "oidc-provider.json"
    clients = [(".".join(client_name(n)), secret(n)) for n in range(case.clients)]
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
    done = subprocess.run(command, cwd=folder / "peers", capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"npm install: {done.stderr.strip()}")


def _private_jwk() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).private_numbers()
    values = {"x": numbers.public_numbers.x, "y": numbers.public_numbers.y, "d": numbers.private_value}
    encoded = {n: base64.urlsafe_b64encode(v.to_bytes(32)).decode().rstrip("=") for n, v in values.items()}
    return {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench", **encoded}


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port
