"""Objects of the API server as plain JSON, by kind, without kubectl."""

import ssl
import time
from collections.abc import Mapping
from typing import Any, Final, cast

import httpx
from kubernetes import client

Manifest = dict[str, Any]

_CORE: Final = "/api/v1"
_SCOPEWRIGHT: Final = "/apis/scopewright.dev/v1alpha1"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_ADMISSION: Final = "/apis/admissionregistration.k8s.io/v1"
_COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "Namespace": (_CORE, "namespaces"),
    "Secret": (_CORE, "secrets"),
    "ConfigMap": (_CORE, "configmaps"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "OAuthClient": (_SCOPEWRIGHT, "oauthclients"),
    "ResourceServer": (_SCOPEWRIGHT, "resourceservers"),
    "ScopeGrant": (_SCOPEWRIGHT, "scopegrants"),
    "SigningKey": (_SCOPEWRIGHT, "signingkeys"),
    "IdentityProvider": (_SCOPEWRIGHT, "identityproviders"),
    "Pod": (_CORE, "pods"),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "Event": ("/apis/events.k8s.io/v1", "events"),
    "Role": (_RBAC, "roles"),
    "RoleBinding": (_RBAC, "rolebindings"),
    "ClusterRole": (_RBAC, "clusterroles"),
    "ClusterRoleBinding": (_RBAC, "clusterrolebindings"),
    "ResourceQuota": (_CORE, "resourcequotas"),
    "ValidatingWebhookConfiguration": (_ADMISSION, "validatingwebhookconfigurations"),
    "ValidatingAdmissionPolicy": (_ADMISSION, "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": (_ADMISSION, "validatingadmissionpolicybindings"),
    "MutatingAdmissionPolicy": (_ADMISSION, "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": (_ADMISSION, "mutatingadmissionpolicybindings"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "SubjectAccessReview": ("/apis/authorization.k8s.io/v1", "subjectaccessreviews"),
}
SCOPEWRIGHT_KINDS: Final = ("OAuthClient", "ResourceServer", "ScopeGrant", "SigningKey", "IdentityProvider")


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Kube:
    """`namespace` is "" for cluster-scoped kinds. A missing object is None, and deleting it succeeds."""

    def __init__(self, api: client.ApiClient) -> None:
        configuration = api.configuration
        trust = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            trust.load_cert_chain(configuration.cert_file, configuration.key_file)
        token = configuration.get_api_key_with_prefix("authorization")
        headers = {"Authorization": token} if token else {}
        self._http = httpx.Client(
            base_url=configuration.host, verify=trust, headers=headers, timeout=30, trust_env=False
        )

    def close(self) -> None:
        self._http.close()

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        try:
            return self._request("GET", self._path(kind, namespace, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str = "", **query: str) -> list[Manifest]:
        found = self._request("GET", self._path(kind, namespace), query=query)
        return [{**item, "kind": kind, "apiVersion": found["apiVersion"]} for item in found["items"]]

    def create(self, manifest: Manifest) -> Manifest:
        meta = manifest.get("metadata", {})
        return self._request("POST", self._path(manifest["kind"], meta.get("namespace", "")), body=manifest)

    def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply, as kubectl does."""
        meta = manifest["metadata"]
        path = self._path(manifest["kind"], meta.get("namespace", ""), meta["name"])
        query = {"fieldManager": "tests", "force": "true", "fieldValidation": "Strict"}
        return self._request("PATCH", path, query=query, body=manifest, media="application/apply-patch+yaml")

    def patch(self, kind: str, namespace: str, name: str, change: Manifest) -> Manifest:
        """A JSON merge patch: null removes a field."""
        path = self._path(kind, namespace, name)
        return self._request("PATCH", path, body=change, media="application/merge-patch+json")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        try:
            self._request("DELETE", self._path(kind, namespace, name))
        except Refused as refused:
            if refused.status != 404:
                raise

    def service_account_token(self, namespace: str, name: str, audience: str) -> str:
        """As the kubelet projects it into a Pod (TokenRequest)."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": [audience]}}
        path = f"{self._path('ServiceAccount', namespace, name)}/token"
        return str(self._request("POST", path, body=asked)["status"]["token"])

    def _path(self, kind: str, namespace: str, name: str = "") -> str:
        prefix, plural = _COLLECTIONS[kind]
        return prefix + (f"/namespaces/{namespace}" if namespace else "") + f"/{plural}" + (f"/{name}" if name else "")

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        media: str = "application/json",
    ) -> Manifest:
        headers = {"Content-Type": media} if body else {}
        for _ in range(30):
            answer = self._http.request(method, path, params=dict(query or {}), json=body, headers=headers)
            if answer.status_code != 429:
                break
            time.sleep(1)  # after its start it answers "storage is (re)initializing"
        if answer.headers.get("content-type") != "application/json":  # the path is not served
            raise Refused(answer.status_code, answer.text)
        content = cast("Manifest", answer.json())
        if answer.status_code >= 400:
            raise Refused(answer.status_code, str(content.get("message")))
        return content
