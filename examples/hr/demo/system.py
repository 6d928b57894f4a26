"""The HR system on this machine: `scopewright dev` over a copy of the manifests, and the three services."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from examples.hr.demo.children import Child, Children, free_ports

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
SERVICES = ("employee", "payroll", "leave")


@dataclass(frozen=True)
class System:
    """Directories and URLs of the system. `http` sends no credentials."""

    manifests: Path
    state: Path
    issuer: str
    urls: dict[str, str]
    http: httpx.AsyncClient

    def secret(self, client_id: str) -> Path:
        """The directory with the Secret of `<namespace>.<name>`, in place of a mount."""
        namespace, name = client_id.split(".")
        return self.state / "secrets" / namespace / f"{name}-oauth"


@asynccontextmanager
async def running() -> AsyncIterator[tuple[System, Children]]:
    """Start the whole system. Its processes and files are removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix="scopewright-hr-") as folder:
        manifests, state = Path(folder, "manifests"), Path(folder, "state")
        shutil.copytree(MANIFESTS, manifests)
        with Children(Path(folder)) as children:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
                port, *ports = free_ports(1 + len(SERVICES))
                issuer = f"http://127.0.0.1:{port}"
                urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(SERVICES, ports, strict=True)}
                system = System(manifests, state, issuer, urls, http)
                await _start_issuer(system, children)
                await _start_services(system, children)
                yield system, children


async def _start_issuer(system: System, children: Children) -> None:
    address = system.issuer.removeprefix("http://")
    arguments = [str(system.manifests), "--state", str(system.state), "--listen", address]
    child = children.start("scopewright dev", "scopewright.cli", "dev", *arguments)
    await child.wait_for_log(f"issuer ready at {system.issuer}")


async def _start_services(system: System, children: Children) -> None:
    started = [_start_service(system, children, name) for name in SERVICES]
    for child in started:
        await child.wait_for_log("Uvicorn running")


def _start_service(system: System, children: Children, name: str) -> Child:
    """With the settings of a container: a mounted Secret and environment variables."""
    env = {f"{peer.upper()}_URL": url for peer, url in system.urls.items()}
    env["OAUTH_SECRET"] = str(system.secret(f"{name}.{name}-service"))
    env["AUDIENCE"] = audience(name)
    env["LEEWAY"] = "0"  # one clock, so that an expired token is refused at once
    port = system.urls[name].rpartition(":")[2]
    return children.start(name, "uvicorn", "--factory", f"examples.hr.{name}:create", "--port", port, env=env)


def audience(name: str) -> str:
    """The default audience of the ResourceServer `<name>-api` in the namespace `<name>`."""
    return f"https://{name}-api.{name}.svc"
