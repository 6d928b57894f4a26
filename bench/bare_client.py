"""The baseline of `reconcile`: a client that makes the operator's writes for the same OAuthClients, and nothing else.

It uses the operator's `Api`, and the operator's core plans the objects. The ratio of the two therefore measures what
the operator adds, not an HTTP library or the size of an object.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.concurrency import for_each
from bench.machine import cpu, cpu_used
from bench.progress_display import ProgressDisplay
from bench.workload import SHARED_API, Manifest, Workload, create
from scopewright.api import OAuthClient
from scopewright.controller.key_generation import client_pair, generate_secret, make_key
from scopewright.core.client.plan import plan_client
from scopewright.core.client.view import ClientView
from scopewright.core.config import Config
from scopewright.core.objects import Desired, Existing
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode
from scopewright.core.records.names import ENTRY
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import collection, compose
from scopewright.stores.kubernetes.store import KubernetesStore


@dataclass(frozen=True, slots=True)
class BareClientFigures:
    """Wall-clock seconds for the OAuthClients, for two Secrets each and for one status each; CPU seconds in all."""

    applying: float
    secrets: float
    statuses: float
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True)
class Writes:
    """The objects and the status that the operator writes for one client."""

    client: Manifest
    secrets: tuple[Manifest, ...]
    status: dict[str, Any]


async def measure(api: Api, workload: Workload, *, concurrency: int, display: ProgressDisplay) -> BareClientFigures:
    """Measure each phase in turn. The namespaces of the workload must exist."""
    before = cpu()
    applied: list[Manifest] = []

    async def apply(manifest: Manifest) -> None:
        applied.append(await create(api, manifest))

    async def timed(title: str, items: list[Any], work: Callable[[Any], Awaitable[None]]) -> float:
        with display.step(f"bare client: {len(items):,} {title}", len(items)) as done:
            started = time.perf_counter()
            await for_each(items, work, concurrency=concurrency, done=done)
            return time.perf_counter() - started

    applying = await timed("OAuthClients", list(workload.oauth_clients()), apply)
    planned = plan_all(workload, applied)
    store = KubernetesStore(api)

    async def write_secret(body: Manifest) -> None:
        await api.request("POST", collection("Secret", body["metadata"]["namespace"]), body=body)

    async def write_status(writes: Writes) -> None:
        await store.write_status(writes.client, writes.status)

    secrets = await timed("Secrets", [body for writes in planned for body in writes.secrets], write_secret)
    statuses = await timed("statuses", planned, write_status)
    return BareClientFigures(applying, secrets, statuses, cpu_used(before, cpu()))


def plan_all(workload: Workload, applied: list[Manifest]) -> list[Writes]:
    config = Config(issuer="http://127.0.0.1:8080", name=workload.run, namespace=workload.system)
    return [_plan(workload, config, manifest) for manifest in applied]


def _plan(workload: Workload, config: Config, manifest: Manifest) -> Writes:
    view = ClientView(
        client=OAuthClient.model_validate(manifest),
        record=None,
        record_object=None,
        secret=None,
        former_secrets=(),
        servers=_servers(workload, manifest),
        seal_key=bytes(32),
        config=config,
        now=datetime.now(UTC),
        generate_secret=generate_secret,
        generate_key_pair=lambda: client_pair(make_key("ES256")),
    )
    first = plan_client(view)
    record, secret = (write for write in first.writes if isinstance(write, Desired))
    content = record.entries[ENTRY]
    assert isinstance(content, bytes)
    second = plan_client(
        replace(
            view,
            record=decode(ClientRecord, content),
            record_object=_written(record),
            secret=_written(secret),
            events=first.events,
        )
    )
    assert second.status is not None
    return Writes(manifest, (compose(record, None), compose(secret, None)), second.status)


def _written(desired: Desired) -> Existing:
    owner = (desired.owner.uid,) if desired.owner else ()
    return Existing(
        desired.ref, "", "", desired.type, desired.labels, desired.annotations, owner, entries=desired.digests()
    )


def _servers(workload: Workload, manifest: Manifest) -> dict[str, ResourceServerRecord]:
    """Records of the APIs that the client requests, each with a grant."""
    records = [_server(workload, a["namespace"], a["resourceServer"]) for a in manifest["spec"]["access"]]
    return {record.key: record for record in records}


def _server(workload: Workload, namespace: str, name: str) -> ResourceServerRecord:
    audience = workload.audience if name == SHARED_API else f"https://{name}.{namespace}.svc"
    grant = ResolvedGrant(scopes=(f"{name}.read",), everybody=True)
    return ResourceServerRecord(
        namespace, name, "uid", audience, scopes=(f"{name}.read", f"{name}.write"), grants=(grant,)
    )
