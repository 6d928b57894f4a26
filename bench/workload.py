"""What is applied: clients over twenty namespaces, an API in each, one API for all, and the grants between them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bench.crowd import spread
from bench.screen import Screen
from scopewright.api import API_VERSION
from scopewright.stores.kube_api import Api, NotFound
from scopewright.stores.kube_objects import collection
from scopewright.stores.kubernetes import declared_path

Manifest = dict[str, Any]

NAMESPACES: Final = 20
LABEL: Final = "scopewright-bench"
"""On the Secrets of the clients: what the benchmark follows."""
EVERYBODYS: Final = "directory"
"""The API that every client calls, thanks to one grant."""
DECLARED: Final = ("OAuthClient", "ScopeGrant", "ResourceServer", "SigningKey")


@dataclass(frozen=True, slots=True)
class Workload:
    """`run` is unlike that of any other run, so that nothing is mistaken for ours. It names the installation too."""

    run: str
    clients: int

    @property
    def system(self) -> str:
        """The issuer's namespace."""
        return f"{self.run}-system"

    @property
    def directory(self) -> str:
        return f"{self.run}-{EVERYBODYS}"

    @property
    def callers(self) -> list[str]:
        return [f"{self.run}-{n:02}" for n in range(NAMESPACES)]

    @property
    def namespaces(self) -> list[str]:
        return [self.system, self.directory, *self.callers]

    @property
    def audience(self) -> str:
        return f"https://{EVERYBODYS}.{self.directory}.svc"

    def apis(self) -> Iterator[Manifest]:
        """Every ResourceServer and ScopeGrant."""
        callers = self.callers
        for n, namespace in enumerate(callers):
            yield self._server(namespace, "api")
            yield self._grant(namespace, "api", [callers[(n + 1) % NAMESPACES]])
        yield self._server(self.directory, EVERYBODYS)
        yield self.everybodys_grant()

    def everybodys_grant(self) -> Manifest:
        return self._grant(self.directory, EVERYBODYS, self.callers)

    def oauth_clients(self) -> Iterator[Manifest]:
        return (self.oauth_client(n) for n in range(self.clients))

    def oauth_client(self, n: int) -> Manifest:
        namespace, neighbour = self.callers[n % NAMESPACES], self.callers[(n - 1) % NAMESPACES]
        access = [
            {"resourceServer": "api", "namespace": neighbour, "scopes": ["api.read"]},
            {"resourceServer": EVERYBODYS, "namespace": self.directory, "scopes": [f"{EVERYBODYS}.read"]},
        ]
        spec = {"access": access, "credentials": {"secretTemplate": {"labels": {LABEL: self.run}}}}
        return self._manifest("OAuthClient", namespace, f"service-{n:05}", spec)

    def _server(self, namespace: str, name: str) -> Manifest:
        scopes = [{"name": f"{name}.{verb}", "description": f"May {verb}"} for verb in ("read", "write")]
        return self._manifest("ResourceServer", namespace, name, {"scopes": scopes})

    def _grant(self, namespace: str, server: str, to: list[str]) -> Manifest:
        spec = {"resourceServer": server, "scopes": [f"{server}.read"], "to": [{"namespace": n} for n in to]}
        return self._manifest("ScopeGrant", namespace, f"{server}-readers", spec)

    def _manifest(self, kind: str, namespace: str, name: str, spec: Manifest) -> Manifest:
        return {
            "apiVersion": API_VERSION,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"issuer": self.run, **spec},
        }


async def create(api: Api, manifest: Manifest) -> Manifest:
    path = declared_path(manifest["kind"], manifest["metadata"]["namespace"])
    return await api.request("POST", path, body=manifest)


@asynccontextmanager
async def in_namespaces(api: Api, workload: Workload) -> AsyncIterator[None]:
    """The namespaces of the workload; at the end they go, with all that they hold."""
    try:
        for name in workload.namespaces:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await api.request("POST", "/api/v1/namespaces", body=body)
        yield
    finally:
        for name in workload.namespaces:
            with suppress(NotFound):
                await api.request("DELETE", f"/api/v1/namespaces/{name}")


async def clear(api: Api, workload: Workload, screen: Screen) -> None:
    """The namespaces as they were at first; dependents go first, so that the garbage collector has nothing to do."""

    async def clear_one(namespace: str) -> None:
        paths = [collection("Secret", namespace), *(declared_path(kind, namespace) for kind in DECLARED)]
        for path in (*paths, collection("ConfigMap", namespace)):
            await api.request("DELETE", path, timeout=300)

    with screen.step("clearing up", len(workload.namespaces)) as done:
        await spread(workload.namespaces, clear_one, at_once=8, done=done)
