"""The HR system on this machine: `scopewright dev` over a copy of the manifests, and the three services."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from examples.hr.demo.children import Child, Children, free_ports

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
SERVICES = ("employee", "payroll", "leave")
SERVERS = {
    "employee": ("uvicorn", "--factory", "examples.hr.employee:create"),
    "payroll": ("uvicorn", "--factory", "examples.hr.payroll:create"),
    "leave": ("gunicorn", "--threads", "8", "examples.hr.leave:create()"),
}
"""The arguments of `python -m` that serve each service."""


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
    started = {name: _start_service(system, children, name) for name in SERVICES}
    for name, child in started.items():
        await child.wait_until(partial(_is_healthy, system.http, system.urls[name]))


async def _is_healthy(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/healthz")).is_success
    except httpx.TransportError:
        return False


def _start_service(system: System, children: Children, name: str) -> Child:
    """With the settings of a container: a mounted Secret and environment variables."""
    env = {f"{peer.upper()}_URL": url for peer, url in system.urls.items()}
    env["SCOPEWRIGHT_SECRET_DIR"] = str(system.secret(f"{name}.{name}-service"))
    env["SCOPEWRIGHT_AUDIENCE"] = audience(name)
    env["LEEWAY"] = "0"  # one clock, so that an expired token is refused at once
    address = system.urls[name].removeprefix("http://")
    host, _, port = address.partition(":")
    server, *arguments = SERVERS[name]
    listen = ("--bind", address) if server == "gunicorn" else ("--host", host, "--port", port)
    return children.start(name, server, *listen, *arguments, env=env)


def audience(name: str) -> str:
    """The default audience of the ResourceServer `<name>-api` in the namespace `<name>`."""
    return f"https://{name}-api.{name}.svc"
