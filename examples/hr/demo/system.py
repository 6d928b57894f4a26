"""The HR system on this machine: `scopewright dev` over a copy of the manifests, the three services, and the web
application of the HR staff.
"""

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
WEB = MANIFESTS.parent / "web"
WEB_URL = "http://127.0.0.1:9100"
"""URL of the web application in its manifest. Its real port is a free one."""
SERVICES = ("employee", "payroll", "leave")
SERVERS = {
    "web": ("uvicorn", "--factory", "examples.hr.web.app:create"),
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
    """Of the three services."""
    web: str
    """URL of the web application."""
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
        shutil.copytree(WEB / "manifests", manifests, dirs_exist_ok=True)
        shutil.copy(WEB / "users.yaml", manifests)
        with Children(Path(folder)) as children:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
                issuer, web, *services = (f"http://127.0.0.1:{port}" for port in free_ports(2 + len(SERVICES)))
                application = manifests / "50-web.yaml"
                application.write_text(application.read_text(encoding="utf-8").replace(WEB_URL, web), encoding="utf-8")
                system = System(manifests, state, issuer, dict(zip(SERVICES, services, strict=True)), web, http)
                await _start_issuer(system, children)
                await _start_services(system, children)
                yield system, children


async def _start_issuer(system: System, children: Children) -> None:
    address = system.issuer.removeprefix("http://")
    arguments = [str(system.manifests), "--state", str(system.state), "--listen", address]
    child = children.start("scopewright dev", "scopewright.cli", "dev", *arguments)
    await child.wait_for_log(f"issuer ready at {system.issuer}")


async def _start_services(system: System, children: Children) -> None:
    started = {system.urls[name]: _start_service(system, children, name) for name in SERVICES}
    started[system.web] = _start_web(system, children)
    for url, child in started.items():
        await child.wait_until(partial(_is_healthy, system.http, url))


async def _is_healthy(http: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(f"{url}/healthz")).is_success
    except httpx.TransportError:
        return False


def _start_service(system: System, children: Children, name: str) -> Child:
    """With the settings of a container: a mounted Secret and environment variables."""
    env = _settings(system, f"{name}.{name}-service")
    env["SCOPEWRIGHT_AUDIENCE"] = audience(name)
    env["LEEWAY"] = "0"  # one clock, so that an expired token is refused at once
    return _serve(children, name, system.urls[name], env)


def _start_web(system: System, children: Children) -> Child:
    return _serve(children, "web", system.web, _settings(system, "hr.hr-web") | {"HOME_URL": system.web})


def _settings(system: System, client_id: str) -> dict[str, str]:
    urls = {f"{name.upper()}_URL": url for name, url in system.urls.items()}
    return urls | {"SCOPEWRIGHT_SECRET_DIR": str(system.secret(client_id))}


def _serve(children: Children, name: str, url: str, env: dict[str, str]) -> Child:
    address = url.removeprefix("http://")
    host, _, port = address.partition(":")
    server, *arguments = SERVERS[name]
    listen = ("--bind", address) if server == "gunicorn" else ("--host", host, "--port", port)
    return children.start(name, server, *listen, *arguments, env=env)


def audience(name: str) -> str:
    """The default audience of the ResourceServer `<name>-api` in the namespace `<name>`."""
    return f"https://{name}-api.{name}.svc"
