"""The servers of `users`: Scopewright and node oidc-provider, with the same Redis, and Scopewright with SQLite."""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from bench.benchmark import BenchmarkError
from bench.machine import cpu_seconds
from bench.server import Server
from bench.token_cases import LIFETIME
from bench.token_clients import AUDIENCE, ISSUER, SCOPE, secret
from bench.token_servers import ROOT, start_redis
from bench.user_load import Users
from bench.user_records import GROUP, REDIRECT_URI, SPA, WEB, client_id
from tests.controlplane.processes import Child
from tests.ports import free_port

RSA_BITS: Final = 3072
"""Of the key of ID tokens that the operator makes; the peer gets one of the same size."""


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core a server has, and which one the loads and Redis share. Without a second core, none is set."""

    servers: int | None
    others: int | None

    @classmethod
    def of_machine(cls, workers: int) -> "Cores":
        """With several workers, all processes share all cores."""
        found = sorted(os.sched_getaffinity(0))
        return cls(None, None) if workers > 1 or len(found) < 2 else cls(found[0], found[1])

    def of_servers(self) -> list[str]:
        return _pinned(self.servers)

    def of_others(self) -> list[str]:
        return _pinned(self.others)


class SessionServer:
    """The Redis or Valkey of all servers. It keeps nothing when it is killed."""

    def __init__(self, folder: Path, cores: Cores) -> None:
        self.port = free_port()
        self._folder = folder
        self._cores = cores
        self.start()

    def start(self) -> None:
        self._child = start_redis(self.port, self._folder, self._cores.of_others())

    def kill(self) -> None:
        self._child.kill()

    @property
    def pid(self) -> int:
        return self._child.pid

    def cpu(self) -> float:
        """0 while it is not there."""
        return cpu_seconds(self.pid) if self._child.alive() else 0.0


@dataclass
class UserServer(Server):
    """A running server. `runs` has the figures of each run by the name of the load."""

    users: Users
    runs: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def stop(self) -> None:
        self.users.connections.close()
        self.child.stop()


@dataclass(frozen=True, slots=True)
class Setup:
    """What the servers are started with. `provider` is the URL of an OpenID provider that does not answer."""

    folder: Path
    workers: int
    cores: Cores
    store: SessionServer
    provider: str

    def scopewright(self, algorithm: str, *, sqlite: bool = False) -> UserServer:
        """`algorithm` is that of ID tokens."""
        name = f"scopewright-{algorithm.lower()}{'-sqlite' if sqlite else ''}"
        port, log, audit = free_port(), self.folder / f"{name}.log", self.folder / f"{name}.audit"
        sessions = str(self.folder / f"{name}.db") if sqlite else f"redis://127.0.0.1:{self.store.port}/0"
        command = [sys.executable, "-m", "bench.user_issuer", f"--port={port}", f"--workers={self.workers}"]
        command += [f"--audit={audit}", f"--sessions={sessions}", f"--id-token-algorithm={algorithm}"]
        command = [*self.cores.of_servers(), *command, f"--provider={self.provider}"]
        log.unlink(missing_ok=True)  # that of an earlier run says "ready"
        about = f"Scopewright, {'SQLite' if sqlite else 'Redis'}, {algorithm}"
        child = Child(command, log=log, cwd=ROOT, environment=_environment())
        return UserServer(name, about, port, child, log, Users(port, "/authorize"))

    def oidc_provider(self, algorithm: str) -> UserServer:
        """Its packages must be installed."""
        name = f"oidc-provider-{algorithm.lower()}"
        port, log, settings = free_port(), self.folder / f"{name}.log", self.folder / f"{name}.json"
        applications = [
            {"id": client_id(WEB), "secret": secret(client_id(WEB)), "redirectURI": REDIRECT_URI},
            {"id": client_id(SPA), "secret": "", "redirectURI": REDIRECT_URI},
        ]
        content = {
            "port": port,
            "workers": self.workers,
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "scope": SCOPE,
            "groups": [GROUP],
            "lifetime": LIFETIME,
            "keys": _private_keys(),
            "idTokenAlgorithm": algorithm,
            "redis": f"redis://127.0.0.1:{self.store.port}/1",
            "clients": applications,
        }
        settings.write_text(json.dumps(content))
        node = shutil.which("node")
        assert node is not None
        program = str(self.folder / "peers" / "oidc-provider-users.mjs")
        command = [*self.cores.of_servers(), node, program, str(settings)]
        log.unlink(missing_ok=True)
        about = f"oidc-provider, Redis, {algorithm}"
        child = Child(command, log=log, cwd=self.folder, environment={"NODE_ENV": "production"})
        return UserServer(name, about, port, child, log, Users(port, "/auth"))


def _private_keys() -> list[dict[str, Any]]:
    curve: dict[str, Any] = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    numbers: dict[str, Any] = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, RSA_BITS), as_dict=True)
    numbers.pop("key_ops", None)
    return [
        {**curve, "alg": "ES256", "use": "sig", "kid": "es256"},
        {**numbers, "alg": "RS256", "use": "sig", "kid": "rs256"},
    ]


def _pinned(core: int | None) -> list[str]:
    """The start of a command whose threads all run on the core."""
    if core is None:
        return []
    if (taskset := shutil.which("taskset")) is None:
        raise BenchmarkError("taskset is not installed: apt-get install util-linux")
    return [taskset, "--cpu-list", str(core)]


def _environment() -> dict[str, str]:
    """The code of this checkout, whatever is installed."""
    return {"PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}"}
