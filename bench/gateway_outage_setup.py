"""Setup of `gateway-outage`: operator and issuers, clients with mounted Secrets, gateway, nginx, Envoy and service."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

from bench.counts import Counts
from bench.gateway_proxies import WAYS, start_proxy
from bench.gateway_servers import start_gateway, start_service
from bench.jwks_lag import SecretWatcher, poll_jwks
from bench.key_rotation_run import Periods, RotationWorkload, Rotator
from bench.kubelet_mounts import KubeletMounts
from bench.progress_display import ProgressDisplay
from bench.replicas import Replicas, replicas
from bench.rotation_setup import MAX_MOUNT_DELAY_SECONDS, apply, in_background
from bench.server import Server
from bench.workload import Manifest, create
from scopewright.stores.kubernetes.api import Api
from tests.gateway.proxies import HOST

PROXIES: Final = ("nginx", "envoy")


@dataclass(frozen=True, slots=True)
class GatewayWorkload(RotationWorkload):
    """The shared API has rules. `key_fetch_seconds`: the gateway fetches the keys at most that often."""

    key_fetch_seconds: int

    @property
    def lead_seconds(self) -> int:
        """From the publication of a key to its first signature."""
        return self.periods.publish_ahead + self.periods.jwks_max_age + self.periods.replica_lag

    @property
    def hostname(self) -> str:
        return self.audience.removeprefix("https://")

    def apis(self) -> Iterator[Manifest]:
        read = {"name": "read", "methods": ["GET"], "paths": ["/salaries/**"], "scopes": ["directory.read"]}
        for manifest in RotationWorkload.apis(self):
            if manifest["kind"] == "ResourceServer":
                manifest["spec"]["http"] = {"rules": [read]}
            yield manifest


def periods(key_fetch_seconds: int) -> Periods:
    """A key is published for longer than the gateway takes to fetch it. Tokens that were just renewed outlast the
    outage.
    """
    return Periods(publish_ahead=key_fetch_seconds + 2, jwks_max_age=1, replica_lag=1, overlap=45, token_lifetime=3600)


@dataclass(frozen=True, slots=True)
class OutageSetup:
    workload: GatewayWorkload
    running: Replicas
    rotator: Rotator
    mounted: dict[str, Path]
    """The folder of each client's Secret, by client id."""
    ports: dict[str, int]
    """Of the proxies, by name."""
    servers: list[Server]
    """The gateway, the proxies and the service."""
    counts: Counts

    def check(self) -> None:
        """Raise ControlPlaneError if a server has ended."""
        for server in self.servers:
            server.check()

    async def kill_issuers(self) -> None:
        for replica in self.running.issuers:
            await replica.kill()

    async def start_issuers(self) -> None:
        for replica in self.running.issuers:
            await replica.start()
        for replica in self.running.issuers:
            await replica.wait_until_ready(self.running.http)

    async def rotate_key(self) -> None:
        await self.rotator.request_rotation(self.workload.signing_key())


@asynccontextmanager
async def set_up(
    workload: GatewayWorkload, api: Api, kubeconfig: Path, logs: Path, workers: int, display: ProgressDisplay
) -> AsyncIterator[OutageSetup]:
    """Start everything; yields once every client has its mount and the proxies listen."""
    counts = Counts()
    async with AsyncExitStack() as leaving:
        with display.step("waiting until operator and issuers are ready"):
            await create(api, workload.signing_key())
            starting = replicas(kubeconfig, workload, workload.periods.settings, logs, operators=1)
            running = await leaving.enter_async_context(starting)
        mounts = KubeletMounts(logs / "mounts", MAX_MOUNT_DELAY_SECONDS, Random(), counts)
        secrets = SecretWatcher(api, workload, running.ports, mounts, counts)
        leaving.push_async_callback(secrets.finish)
        leaving.push_async_callback(mounts.close)
        await leaving.enter_async_context(in_background(secrets.run(), poll_jwks(running.ports, counts)))
        await apply(api, workload, mounts, display)
        with display.step("waiting until gateway and proxies are ready"):
            service = start_service(logs)
            leaving.callback(service.child.stop)
            source = (f"--kubeconfig={kubeconfig}", f"--namespace={workload.system}")
            gateway = start_gateway(source, workers, logs, key_fetch_seconds=workload.key_fetch_seconds)
            leaving.callback(gateway.child.stop)
            await service.wait_until_ready()
            await gateway.wait_until_ready()
            servers: list[Server] = [service, gateway]
            ports = {}
            for name in PROXIES:
                way = replace(WAYS[f"{name}-gateway"], replace=(HOST, workload.hostname))
                proxy = start_proxy(way, {"service": service.port}, workers, logs, gateway)
                leaving.callback(proxy.child.stop)
                servers.append(proxy)
                await proxy.wait_until_ready()
                ports[name] = proxy.port
        rotator = Rotator(api, workload, secrets, counts)
        yield OutageSetup(workload, running, rotator, mounts.mounted, ports, servers, counts)
