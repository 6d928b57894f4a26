"""The store of a Kubernetes API server.

A write is a POST, or a PUT of the object that was read, with its resourceVersion. Server-side apply is unsuitable: it
creates a missing object even with a resourceVersion, and merges into a Secret of another owner without an error.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, cast

from scopewright.api import API_VERSION, GROUP, KINDS, VERSION
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable
from scopewright.core.objects import Deletion, Desired, Existing, ManagedKind, Ref
from scopewright.stores import Change, Entries, ListCompleted, Selection
from scopewright.stores.contact import Contact
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.follow import follow
from scopewright.stores.kubernetes.objects import collection, compose, parse
from scopewright.stores.kubernetes.redact import remove_values

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def declared_path(kind: str, namespace: str | None = None, name: str | None = None) -> str:
    """Return the path of objects of one of the five kinds."""
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{within}/{KINDS[kind].PLURAL}" + (f"/{name}" if name else "")


async def namespace_is_absent(api: Api, name: str) -> bool:
    """Return whether a 404 names the namespace. With any other answer it may exist."""
    try:
        await api.get(f"/api/v1/namespaces/{name}")
    except NotFound as error:
        return error.named
    except (Rejected, Unavailable):
        return False
    return False


class KubernetesStore:
    """See `stores.Store` and `stores.Listener`."""

    def __init__(self, api: Api, may_write: Callable[[], bool] = lambda: True) -> None:
        """`may_write` is called between a read and its write: leadership may have been lost meanwhile."""
        self.api = api
        self._may_write = may_write
        self._last_activity: dict[tuple[str, str | None], float] = {}

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        try:
            raw = await self.api.get(_path(ref))
        except NotFound:
            return None
        return parse(cast("ManagedKind", ref.kind), raw)

    def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        at = (selection.kind, selection.namespace)

        def on_activity() -> None:
            self._last_activity[at] = time.time()

        return follow(self.api, selection, on_activity)

    def last_activity(self, kind: str) -> float | None:
        return min((at for (of, _), at in list(self._last_activity.items()) if of == kind), default=None)

    @property
    def contact(self) -> Contact:
        return self.api.contact

    async def write(self, desired: Desired) -> Existing:
        return await self._write(desired, {})

    async def preview(self, desired: Desired) -> Existing | None:
        """Write as a dry run; None if a webhook with side effects does not support that."""
        try:
            return await self._write(desired, {"dryRun": "All"})
        except Rejected as refused:
            if "dry run" in refused.message:
                return None
            raise

    async def _write(self, desired: Desired, query: Mapping[str, str]) -> Existing:
        kind = cast("ManagedKind", desired.ref.kind)
        if desired.replaces is None:
            return await self._create(kind, desired, query)
        path = _path(desired.ref)
        try:
            live = await self.api.get(path)
            _require_unchanged(desired.replaces, live["metadata"])
            if not self._may_write():
                raise NotLeading
            return parse(kind, await self._send("PUT", path, compose(desired, live), query))[0]
        except NotFound as error:
            raise Conflict(str(error)) from None

    async def _create(self, kind: ManagedKind, desired: Desired, query: Mapping[str, str]) -> Existing:
        path = collection(kind, desired.ref.namespace)
        try:
            return parse(kind, await self._send("POST", path, compose(desired, None), query))[0]
        except NotFound as error:
            message = f"{desired.ref} cannot be created, because its namespace was deleted: {error}"
            raise Unavailable(message, reason="NamespaceTerminating") from None

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any], query: Mapping[str, str]
    ) -> Mapping[str, Any]:
        """Send a write. The message of a refusal never contains values of the body."""
        try:
            return await self.api.request(method, path, query=query, body=body)
        except Exception as failure:
            remove_values(failure, body)
            raise

    async def delete(self, deletion: Deletion) -> None:
        existing = deletion.existing
        preconditions = {"uid": existing.uid, "resourceVersion": existing.resource_version}
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        try:
            await self.api.request("DELETE", _path(existing.ref), body=body)
        except NotFound:
            return

    async def write_status(self, manifest: Mapping[str, Any], status: Mapping[str, Any]) -> Mapping[str, Any]:
        meta = manifest["metadata"]
        path = declared_path(manifest["kind"], meta["namespace"], meta["name"]) + "/status"
        kept = {k: meta[k] for k in ("name", "namespace", "uid", "resourceVersion")}
        body = {"apiVersion": API_VERSION, "kind": manifest["kind"], "metadata": kept, "status": status}
        try:
            return await self.api.request("PUT", path, body=body)
        except NotFound as error:
            raise Conflict(str(error)) from None

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> Literal["present", "deleted", "unknown"]:
        """Return `deleted` only for a 404 that names the object, of a CRD that exists, is not being deleted and is not
        younger than `since`: deleting and re-creating a CRD deletes its objects without a decision of their owners.
        """
        try:
            live = await self.api.get(declared_path(ref.kind, ref.namespace, ref.name))
        except NotFound as error:
            return await self._deleted_if_crd_is_older(ref.kind, since) if error.named else "unknown"
        except (Rejected, Unavailable):
            return "unknown"
        return "present" if live["metadata"]["uid"] == uid else "deleted"

    async def _deleted_if_crd_is_older(self, kind: str, since: datetime) -> Literal["deleted", "unknown"]:
        try:
            crd = (await self.api.get(f"{CRDS}/{KINDS[kind].PLURAL}.{GROUP}"))["metadata"]
        except (NotFound, Rejected, Unavailable):
            return "unknown"
        created = datetime.fromisoformat(crd["creationTimestamp"])
        return "unknown" if crd.get("deletionTimestamp") or created > since else "deleted"

    async def discover(self) -> tuple[str, Mapping[str, Any]]:
        """See `ServiceAccountIssuer`. ClusterRole `system:service-account-issuer-discovery` allows both requests."""
        try:
            metadata = await self.api.get("/.well-known/openid-configuration")
            return str(metadata.get("issuer")), await self.api.get("/openid/v1/jwks")
        except NotFound as error:
            raise Unavailable(f"the API server has no OIDC discovery: {error}") from None

    async def review(self, token: str, audience: str) -> bool:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        answer = await self.api.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review)
        status = answer.get("status") or {}
        return status.get("authenticated") is True and audience in (status.get("audiences") or ())


def _path(ref: Ref) -> str:
    return f"{collection(ref.kind, ref.namespace)}/{ref.name}"


def _require_unchanged(existing: Existing, meta: Mapping[str, Any]) -> None:
    if (meta["uid"], meta["resourceVersion"]) != (existing.uid, existing.resource_version):
        raise Conflict(f"{existing.ref} has changed since it was read")
