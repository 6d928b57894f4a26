"""Memory for one namespace: `python -m tests.unit.controller.one_namespace operator|issuer CLIENTS SCOPES`.

A new process reads that many OAuthClients of namespace `greedy`, each with that many scopes of the longest names. It
prints as JSON: memory before and after and the size of the snapshot in MiB, how many of the clients are served, and
whether a client of another namespace is.
"""

import asyncio
import base64
import json
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from scopewright.api import OAuthClient
from scopewright.controller.cache import Cache
from scopewright.core.access import requested_access
from scopewright.core.declared import parse_watched
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.codec import encode
from scopewright.core.records.names import CLIENT_TYPE, ENTRY, client_record_name
from scopewright.issuer.state.registry import Registry
from scopewright.issuer.state.snapshot import SnapshotFile
from scopewright.stores import Change
from tests.harness.samples import NAMESPACE

NOW: Final = datetime(2026, 11, 28, 12, tzinfo=UTC)
_MIB: Final = 2**20


def memory() -> float:
    """Resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / _MIB


def manifests(namespace: str, clients: int, scopes: int) -> Iterator[dict[str, Any]]:
    for number in range(clients):
        names = [f"{number}-{n}-".ljust(128, "s") for n in range(scopes)]
        access = [
            {"resourceServer": f"api-{n // 64}", "namespace": "payroll", "scopes": names[n : n + 64]}
            for n in range(0, scopes, 64)
        ]
        created = (NOW + timedelta(seconds=number)).isoformat()
        meta = {"namespace": namespace, "name": f"c{number}", "uid": f"{namespace}-{number}", "generation": 1}
        meta |= {"resourceVersion": str(number + 1), "creationTimestamp": created}
        yield {
            "apiVersion": "scopewright.dev/v1alpha1",
            "kind": "OAuthClient",
            "metadata": meta,
            "spec": {"access": access},
        }


def record_of(client: OAuthClient) -> tuple[Existing, dict[str, bytes]]:
    record = ClientRecord(
        client.namespace,
        client.name,
        client.uid,
        credentials=(Credential("0" * 64, NOW),),
        access=requested_access(client),
    )
    ref = Ref("Secret", NAMESPACE, client_record_name(client.namespace, client.name))
    labels = {MANAGED_BY: MANAGER}
    return Existing(ref, f"uid {ref}", "1", CLIENT_TYPE, labels, creation_time=NOW), {ENTRY: encode(record)}


def served(clients: int, scopes: int) -> tuple[Cache, list[OAuthClient]]:
    """The operator's cache, and the clients within the limits, which get a record."""
    cache = Cache("default", NAMESPACE)
    for namespace, count, each in (("greedy", clients, scopes), ("modest", 1, 1)):
        for raw in manifests(namespace, count, each):
            cache.put(parse_watched(raw))
    within = [c for c in cache.all(OAuthClient) if cache.beyond_limits(Ref("OAuthClient", c.namespace, c.name)) is None]
    return cache, within


def operator(clients: int, scopes: int) -> dict[str, Any]:
    before = memory()
    cache, within = served(clients, scopes)
    for client in within:
        cache.put_managed(*record_of(client))
    return _result(before, within, 0.0)


async def issuer(clients: int, scopes: int) -> dict[str, Any]:
    """The records come from another process, which has the operator's cache."""
    record_process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __spec__.name if __spec__ else "", "records", str(clients), str(scopes),
        stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    assert record_process.stdout
    before, names = memory(), []
    registry = Registry(NAMESPACE)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "snapshot")
        snapshots = SnapshotFile(file, debounce=0.0)
        async for line in record_process.stdout:
            name, data = json.loads(line)
            existing = Existing(
                Ref("Secret", NAMESPACE, name), "uid", "1", CLIENT_TYPE, {MANAGED_BY: MANAGER}, creation_time=NOW
            )
            change = Change(existing, {ENTRY: base64.b64decode(data)})
            assert registry.apply(change, NOW.timestamp())
            snapshots.keep(change)
            names.append(name)
        writing = asyncio.create_task(snapshots.run())
        while not file.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)
        writing.cancel()
        await record_process.wait()
        size = file.stat().st_size / _MIB  # noqa: ASYNC240
    within = [client for name in names if (client := registry.clients.get(name.removeprefix("client.")))]
    return _result(before, within, size)


def records(clients: int, scopes: int) -> None:
    for client in served(clients, scopes)[1]:
        existing, entries = record_of(client)
        sys.stdout.write(json.dumps([existing.ref.name, base64.b64encode(entries[ENTRY]).decode()]) + "\n")


def _result(before: float, within: list[Any], snapshot: float) -> dict[str, Any]:
    return {
        "before": round(before, 1),
        "after": round(memory(), 1),
        "snapshot": round(snapshot, 1),
        "served": sum(c.namespace == "greedy" for c in within),
        "other": any(c.namespace == "modest" for c in within),
    }


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    clients, scopes = map(int, numbers)
    match what:
        case "operator":
            sys.stdout.write(json.dumps(operator(clients, scopes)))
        case "issuer":
            sys.stdout.write(json.dumps(asyncio.run(issuer(clients, scopes))))
        case "records":
            records(clients, scopes)
