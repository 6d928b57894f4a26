"""Manifests that a team of the example applies in addition to the files of the repository."""

from typing import Any, Final

from tests.cluster.kube import Manifest

RESTRICTED: Final = {"pod-security.kubernetes.io/enforce": "restricted"}
POD_SECURITY: Final[Manifest] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Final[Manifest] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def plain(kind: str, namespace: str, name: str, **content: Any) -> Manifest:
    """An object of the core API."""
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, **content}


def restricted_namespace(name: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}}


def labelled(manifest: Manifest) -> Manifest:
    """A Namespace gets the label for PodSecurity `restricted`."""
    meta = manifest["metadata"]
    if manifest["kind"] != "Namespace":
        return {}
    return {"metadata": {**meta, "labels": {**meta.get("labels", {}), **RESTRICTED}}}


def projected(client: str, issuer: str) -> Manifest:
    """The volume of docs/authentication.md: the credential Secret and the projected token for the issuer."""
    token = {"path": "token", "audience": issuer, "expirationSeconds": 600}
    return {"projected": {"sources": [{"secret": {"name": f"{client}-oauth"}}, {"serviceAccountToken": token}]}}
