"""Objects of other projects' kinds, checked by their CRDs on a real API server."""

from typing import Final

from tests.cluster.kube import Kube, Manifest, Refused

_PLURALS: Final = {
    "AuthorizationPolicy": "authorizationpolicies",
    "GitRepository": "gitrepositories",
    "Ingress": "ingresses",
    "NetworkPolicy": "networkpolicies",
}


def collection(manifest: Manifest) -> str:
    """The path of the kind's objects in the namespace of the manifest."""
    plural = _PLURALS.get(manifest["kind"], f"{manifest['kind'].lower()}s")
    version = manifest["apiVersion"]
    prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{prefix}/namespaces/{manifest['metadata']['namespace']}/{plural}"


def served(kube: Kube, manifest: Manifest) -> bool:
    """Whether the API server serves the kind."""
    try:
        kube._request("GET", collection(manifest))
    except Refused as refused:
        if refused.status in (404, 503):
            return False
        raise
    return True


def dry_run(kube: Kube, manifest: Manifest) -> None:
    """Strict validation: unknown fields are refused."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    kube._request("POST", collection(manifest), query=query, body=manifest)
