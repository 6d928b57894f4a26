"""Reads a cluster once, with lists and gets only: declared objects, managed objects, and what both refer to."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from scopewright.api import API_VERSION, KINDS
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, ManagedKind, Ref
from scopewright.manifests.validate import manifest_ref
from scopewright.stores import Entries
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import collection, parse
from scopewright.stores.kubernetes.pages import pages
from scopewright.stores.kubernetes.store import KubernetesStore, declared_path

CONCURRENCY: Final = 16
"""Reads of single objects at a time."""

ManagedObject = tuple[Existing, Entries]


@dataclass(frozen=True, slots=True)
class ClusterSnapshot:
    """Objects as the API server has them, namespaces with their labels, and objects managed by Scopewright.

    Of Secrets outside the issuer's namespace only digests are kept.
    """

    objects: Mapping[Ref, Mapping[str, Any]]
    namespaces: Mapping[str, Mapping[str, str]]
    managed: tuple[ManagedObject, ...] = field(repr=False)
    service_accounts: Mapping[Ref, str]
    """By UID."""


async def read_cluster(api: Api, namespace: str) -> ClusterSnapshot:
    """`namespace` is the issuer's. `Rejected` names every right that is missing; else `Unavailable`."""
    namespaces, accounts, secrets, config_maps, *declared = await _all(
        _namespaces(api),
        _service_accounts(api),
        _managed(api, "Secret", None, namespace),
        _managed(api, "ConfigMap", namespace, namespace),
        *(_declared(api, kind) for kind in KINDS),
    )
    objects = {ref: raw for of_kind in declared for ref, raw in of_kind.items()}
    return ClusterSnapshot(objects, namespaces, (*secrets, *config_maps), accounts)


async def read_objects(api: Api, refs: Iterable[Ref], namespace: str) -> tuple[ManagedObject, ...]:
    """The Secrets and ConfigMaps among `refs` that exist, of any owner."""
    store, turn = KubernetesStore(api), asyncio.Semaphore(CONCURRENCY)

    async def read(ref: Ref) -> ManagedObject | None:
        async with turn:
            return await store.read(ref)

    objects: list[ManagedObject | None] = await _all(*(read(ref) for ref in refs))
    return tuple(_kept(existing, entries, namespace) for existing, entries in filter(None, objects))


async def _all(*work: Awaitable[Any]) -> list[Any]:
    """All results; one `Rejected` names every missing right."""
    results = await asyncio.gather(*work, return_exceptions=True)
    failures = [r for r in results if isinstance(r, BaseException)]
    refused = [f.message for f in failures if isinstance(f, Rejected)]
    for failure in failures:
        if not isinstance(failure, Rejected):
            raise failure
    if refused:
        raise Rejected("Forbidden", "\n".join(dict.fromkeys(refused)))
    return results


async def _items(api: Api, path: str, **query: str) -> AsyncIterator[Mapping[str, Any]]:
    async for page, _ in pages(api, path, **query):
        for raw in page:
            yield raw


async def _declared(api: Api, kind: str) -> dict[Ref, Mapping[str, Any]]:
    items = [{**raw, "apiVersion": API_VERSION, "kind": kind} async for raw in _items(api, declared_path(kind))]
    return {manifest_ref(raw): raw for raw in items}


async def _namespaces(api: Api) -> dict[str, Mapping[str, str]]:
    items = [raw["metadata"] async for raw in _items(api, "/api/v1/namespaces")]
    return {meta["name"]: meta.get("labels") or {} for meta in items}


async def _service_accounts(api: Api) -> dict[Ref, str]:
    items = [raw["metadata"] async for raw in _items(api, collection("ServiceAccount", None))]
    return {Ref("ServiceAccount", meta["namespace"], meta["name"]): meta["uid"] for meta in items}


async def _managed(api: Api, kind: ManagedKind, where: str | None, namespace: str) -> list[ManagedObject]:
    items = _items(api, collection(kind, where), labelSelector=f"{MANAGED_BY}={MANAGER}")
    return [_kept(*parse(kind, raw), namespace) async for raw in items]


def _kept(existing: Existing, entries: Entries, namespace: str) -> ManagedObject:
    return existing, entries if existing.ref.namespace == namespace else {}
