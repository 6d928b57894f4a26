"""Convert Secrets, ConfigMaps and ServiceAccounts between the API server's JSON and the types of core."""

import base64
import binascii
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from scopewright.api import API_VERSION
from scopewright.core.failures import Conflict
from scopewright.core.objects import Desired, Existing, FollowedKind, Owner, PreservedEntry, Ref, digest
from scopewright.core.shared_strings import shared, shared_items
from scopewright.stores import Entries
from scopewright.stores.kubernetes.api import USER_AGENT

PLURALS: dict[str, str] = {"Secret": "secrets", "ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts"}


def collection(kind: str, namespace: str | None) -> str:
    """Return the path of all objects of a core kind."""
    return f"/api/v1/namespaces/{namespace}/{PLURALS[kind]}" if namespace else f"/api/v1/{PLURALS[kind]}"


def parse(kind: FollowedKind, raw: Mapping[str, Any]) -> tuple[Existing, Entries]:
    meta = raw["metadata"]
    entries = _entries(kind, raw)
    existing = Existing(
        ref=Ref(kind, shared(meta["namespace"]), meta["name"]),
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        type=shared(raw.get("type", "")),
        labels=shared_items(meta.get("labels") or {}),
        annotations=shared_items(meta.get("annotations") or {}),
        owner_uids=tuple(o["uid"] for o in meta.get("ownerReferences") or ()),
        entries={shared(name): shared(digest(value)) for name, value in entries.items()},
        creation_time=datetime.fromisoformat(meta["creationTimestamp"]),
        managers=_managers(meta.get("managedFields") or ()),
    )
    return existing, entries


def _managers(fields: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    latest_first = sorted(fields, key=lambda entry: str(entry.get("time", "")), reverse=True)
    names = dict.fromkeys(sys.intern(str(entry.get("manager", ""))) for entry in latest_first)
    return tuple(name for name in names if name and name != USER_AGENT)


def compose(desired: Desired, live: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the object to POST, or to PUT in place of the live one: metadata of other owners is kept."""
    old = (live or {}).get("metadata") or {}
    meta: dict[str, Any] = {
        **{k: v for k, v in old.items() if k != "managedFields"},
        "name": desired.ref.name,
        "namespace": desired.ref.namespace,
        "labels": desired.labels_onto(old.get("labels") or {}),
        "annotations": desired.annotations_onto(old.get("annotations") or {}),
    }
    if desired.owner or desired.without_owner:
        replaced = (desired.owner.uid if desired.owner else "", desired.without_owner)
        others = [o for o in old.get("ownerReferences") or () if o["uid"] not in replaced]
        owners = [_owner_reference(desired.owner, controls=not others)] if desired.owner else []
        meta["ownerReferences"] = [*others, *owners]
    body: dict[str, Any] = {"apiVersion": "v1", "kind": desired.ref.kind, "metadata": meta}
    values = {name: _value(value, desired, live) for name, value in desired.entries.items()}
    if desired.ref.kind == "Secret":
        body["type"] = desired.type
        body["data"] = {name: base64.b64encode(value).decode() for name, value in values.items()}
    else:
        body["data"] = {name: value.decode() for name, value in values.items()}
    return body


def _value(value: bytes | PreservedEntry, desired: Desired, live: Mapping[str, Any] | None) -> bytes:
    if isinstance(value, bytes):
        return value
    current = _entries("Secret", live or {}).get(value.entry)
    if current is None or digest(current) != value.sha256:
        raise Conflict(f"{desired.ref} no longer has the value of entry {value.entry} that was to be kept")
    return current


def _entries(kind: FollowedKind, raw: Mapping[str, Any]) -> dict[str, bytes]:
    data: Mapping[str, str] = raw.get("data") or {}
    if kind == "Secret":
        return {name: _decoded(value) for name, value in data.items()}
    binary: Mapping[str, str] = raw.get("binaryData") or {}
    return {name: value.encode() for name, value in data.items()} | {n: _decoded(v) for n, v in binary.items()}


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "")
    except binascii.Error:
        return b""


def _owner_reference(owner: Owner, *, controls: bool) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": controls,
        "blockOwnerDeletion": False,
    }
