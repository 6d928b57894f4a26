"""The applied objects: clients in twenty namespaces, an API in each, one shared API, and the grants."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bench.concurrency import for_each
from bench.progress_display import ProgressDisplay
from scopewright.api import API_VERSION
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import collection
from scopewright.stores.kubernetes.store import declared_path

Manifest = dict[str, Any]

NAMESPACES: Final = 20
LABEL: Final = "scopewright-bench"
"""Label of the clients' Secrets, which the benchmark follows."""
SHARED_API: Final = "directory"
"""Name of the API that every client may call by one grant."""
DECLARED: Final = ("OAuthClient", "ScopeGrant", "ResourceServer", "SigningKey")


@dataclass(frozen=True, slots=True)
class Workload:
    """`run` is unique to the run, prefixes its namespaces and names its installation."""

    run: str
    clients: int

    @property
    def system(self) -> str:
        """The issuer's namespace."""
        return f"{self.run}-system"

    @property
    def directory(self) -> str:
        return f"{self.run}-{SHARED_API}"

    @property
    def client_namespaces(self) -> list[str]:
        return [f"{self.run}-{n:02}" for n in range(NAMESPACES)]

    @property
    def namespaces(self) -> list[str]:
        return [self.system, self.directory, *self.client_namespaces]

    @property
    def audience(self) -> str:
        return f"https://{SHARED_API}.{self.directory}.svc"

    def apis(self) -> Iterator[Manifest]:
        """Every ResourceServer and ScopeGrant."""
        namespaces = self.client_namespaces
        for n, namespace in enumerate(namespaces):
            yield self._server(namespace, "api")
            yield self._grant(namespace, "api", [namespaces[(n + 1) % NAMESPACES]])
        yield self._server(self.directory, SHARED_API)
        yield self.shared_grant()

    def shared_grant(self) -> Manifest:
        return self._grant(self.directory, SHARED_API, self.client_namespaces)

    def oauth_clients(self) -> Iterator[Manifest]:
        return (self.oauth_client(n) for n in range(self.clients))

    def oauth_client(self, n: int) -> Manifest:
        namespace, neighbour = self.client_namespaces[n % NAMESPACES], self.client_namespaces[(n - 1) % NAMESPACES]
        access = [
            {"resourceServer": "api", "namespace": neighbour, "scopes": ["api.read"]},
            {"resourceServer": SHARED_API, "namespace": self.directory, "scopes": [f"{SHARED_API}.read"]},
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
    """Create the namespaces of the workload, and delete them at the end."""
    try:
        for name in workload.namespaces:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
            await api.request("POST", "/api/v1/namespaces", body=body)
        yield
    finally:
        for name in workload.namespaces:
            with suppress(NotFound):
                await api.request("DELETE", f"/api/v1/namespaces/{name}")


async def clear(api: Api, workload: Workload, display: ProgressDisplay) -> None:
    """Empty the namespaces. Dependents are deleted first, so that the garbage collector has nothing to do."""

    async def clear_one(namespace: str) -> None:
        paths = [collection("Secret", namespace), *(declared_path(kind, namespace) for kind in DECLARED)]
        for path in (*paths, collection("ConfigMap", namespace)):
            await api.request("DELETE", path, timeout=300)

    with display.step("emptying the namespaces", len(workload.namespaces)) as done:
        await for_each(workload.namespaces, clear_one, concurrency=8, done=done)
