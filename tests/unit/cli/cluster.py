"""An API server with the objects of an `OperatorHarness`, from which a plan reads. Any write is a failure."""

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from scopewright.api import KINDS
from scopewright.core.failures import Rejected
from scopewright.core.objects import Ref
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from tests.harness.operator import OperatorHarness
from tests.unit.stores_kubernetes.fake_api import FakeApi, page

_PLURALS = {kind.PLURAL: name for name, kind in KINDS.items()}
_MANAGED = {"secrets": "Secret", "configmaps": "ConfigMap"}
CREATED = "2026-11-22T12:00:00Z"


class ReadOnlyApi(FakeApi):
    """Lists and gets objects. `forbidden` are the resources that the user may not list."""

    def __init__(self, harness: OperatorHarness, *forbidden: str) -> None:
        super().__init__()
        self._harness = harness
        self._forbidden = forbidden

    async def request(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        query = dict(how.get("query") or {})
        self.requests.append((method, path, query))
        assert method == "GET", f"{method} {path}: a plan only reads"
        parts = path.removeprefix("/api/v1/").removeprefix("/apis/scopewright.dev/v1alpha1/").split("/")
        namespace, rest = (parts[1], parts[2:]) if parts[0] == "namespaces" and len(parts) > 1 else ("", parts)
        if rest[0] in self._forbidden:
            raise Rejected("Forbidden", f'a right is missing: User "reader" cannot list resource "{rest[0]}"')
        if len(rest) == 2:
            return self._one(Ref(_MANAGED[rest[0]], namespace, rest[1]))
        return page("1000", *self._all(rest[0], namespace, query))

    def _all(self, plural: str, namespace: str, query: dict[str, str]) -> list[dict[str, Any]]:
        if plural == "namespaces":
            return [
                {"metadata": {"name": name, "labels": dict(labels)}}
                for name, labels in self._harness.namespaces.items()
            ]
        if plural == "serviceaccounts":
            return [{"metadata": {"namespace": "leave", "name": "pods", "uid": "uid of pods"}}]
        if plural in _PLURALS:
            of_kind = [raw for ref, raw in self._harness.store.declared.items() if ref.kind == _PLURALS[plural]]
            return [{k: v for k, v in raw.items() if k not in ("kind", "apiVersion")} for raw in of_kind]
        key, _, value = query.get("labelSelector", "").partition("=")
        return [
            self._one(ref)
            for ref, stored in self._harness.store.objects.items()
            if ref.kind == _MANAGED[plural] and namespace in ("", ref.namespace)
            if not key or stored.existing.labels.get(key) == value
        ]

    def _one(self, ref: Ref) -> dict[str, Any]:
        stored = self._harness.store.objects.get(ref)
        if stored is None:
            raise NotFound(f"{ref} not found", named=True)
        e = stored.existing
        entries = {
            name: base64.b64encode(value).decode() if ref.kind == "Secret" else value.decode()
            for name, value in stored.entries.items()
        }
        meta = {
            "namespace": ref.namespace, "name": ref.name, "uid": e.uid, "resourceVersion": e.resource_version,
            "labels": dict(e.labels), "annotations": dict(e.annotations), "creationTimestamp": CREATED,
            "ownerReferences": [{"uid": uid} for uid in e.owner_uids],
        }  # fmt: skip
        return {"metadata": meta, "type": e.type, "data": entries}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Api]:
        yield self.as_api()
