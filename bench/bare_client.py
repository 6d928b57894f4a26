"""The bare client: the writes that the operator makes for the same clients, and nothing else.

It talks to the API server through the same `Api`, and what it writes is what the operator's own core plans. So the
ratio of the two measures what the operator adds, and not an HTTP library or the size of an object.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from bench.crowd import spread
from bench.machine import cpu, used
from bench.screen import Screen
from bench.workload import EVERYBODYS, Manifest, Workload, create
from scopewright.api import OAuthClient
from scopewright.controller.keymaking import client_pair, make_key, mint
from scopewright.core.client_view import ClientView
from scopewright.core.clients import plan_client
from scopewright.core.config import Config
from scopewright.core.objects import Desired, Existing
from scopewright.core.records import ENTRY, ClientRecord, Granted, ResourceServerRecord, decode
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_objects import collection, compose
from scopewright.stores.kubernetes import KubernetesStore


@dataclass(frozen=True, slots=True)
class BareFigures:
    """Seconds for the OAuthClients, for two Secrets each, and for one status each; of CPU for all of it."""

    applying: float
    secrets: float
    statuses: float
    cpu: dict[str, float]


@dataclass(frozen=True, slots=True)
class Writes:
    """What the operator writes for one client."""

    client: Manifest
    secrets: tuple[Manifest, ...]
    status: dict[str, Any]


async def measure(api: Api, workload: Workload, *, at_once: int, screen: Screen) -> BareFigures:
    """Phase by phase, in namespaces that are there."""
    before = cpu()
    applied: list[Manifest] = []

    async def apply(manifest: Manifest) -> None:
        applied.append(await create(api, manifest))

    async def timed(title: str, things: list[Any], work: Callable[[Any], Awaitable[None]]) -> float:
        with screen.step(f"bare: {len(things):,} {title}", len(things)) as done:
            began = time.perf_counter()
            await spread(things, work, at_once=at_once, done=done)
            return time.perf_counter() - began

    applying = await timed("OAuthClients", list(workload.oauth_clients()), apply)
    planned = plan_all(workload, applied)
    store = KubernetesStore(api)

    async def write_secret(body: Manifest) -> None:
        await api.request("POST", collection("Secret", body["metadata"]["namespace"]), body=body)

    async def write_status(writes: Writes) -> None:
        await store.write_status(writes.client, writes.status)

    secrets = await timed("Secrets", [body for writes in planned for body in writes.secrets], write_secret)
    statuses = await timed("statuses", planned, write_status)
    return BareFigures(applying, secrets, statuses, used(before, cpu()))


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
        mint=mint,
        make_pair=lambda: client_pair(make_key("ES256")),
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
            happened=first.happenings,
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
    """The APIs that the client asks for, granted."""
    records = [_server(workload, a["namespace"], a["resourceServer"]) for a in manifest["spec"]["access"]]
    return {record.key: record for record in records}


def _server(workload: Workload, namespace: str, name: str) -> ResourceServerRecord:
    audience = workload.audience if name == EVERYBODYS else f"https://{name}.{namespace}.svc"
    grant = Granted(scopes=(f"{name}.read",), everybody=True)
    return ResourceServerRecord(
        namespace, name, "uid", audience, scopes=(f"{name}.read", f"{name}.write"), grants=(grant,)
    )
