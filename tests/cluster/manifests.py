"""Short functions that build manifests of the five kinds."""

from typing import Any

from scopewright.api import API_VERSION

from .kube import Manifest

_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g"
USERS = f"users:\n  - {{id: ada, passwordHash: '{_HASH}', groups: [desk]}}\n"
"""A file of static users: `ada`, in group `desk`, for whom no password is right."""


def manifest(kind: str, namespace: str, name: str, spec: dict[str, Any], **metadata: Any) -> Manifest:
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def oauth_client(namespace: str, name: str, *access: dict[str, Any], **spec: Any) -> Manifest:
    return manifest("OAuthClient", namespace, name, {"access": list(access), **spec})


def access_entry(namespace: str, server: str, *scopes: str) -> dict[str, Any]:
    """An entry of `spec.access`."""
    return {"resourceServer": server, "namespace": namespace, "scopes": list(scopes)}


def resource_server(namespace: str, name: str, *scopes: str, **spec: Any) -> Manifest:
    return manifest("ResourceServer", namespace, name, {"scopes": [{"name": s} for s in scopes], **spec})


def scope_grant(
    namespace: str, name: str, server: str, scopes: list[str], *to: dict[str, Any], **spec: Any
) -> Manifest:
    return manifest("ScopeGrant", namespace, name, {"resourceServer": server, "scopes": scopes, "to": list(to), **spec})


def signing_key(namespace: str, name: str = "default", **spec: Any) -> Manifest:
    return manifest("SigningKey", namespace, name, spec)


def identity_provider(namespace: str, name: str, **spec: Any) -> Manifest:
    return manifest("IdentityProvider", namespace, name, spec)
