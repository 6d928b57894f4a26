"""ServiceAccounts of a cluster without nodes: their real tokens, and requests with them."""

import base64
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.cluster.kube import Kube, Manifest
from tests.controlplane import ControlPlane


class Account:
    """A client with the token of this ServiceAccount."""

    def __init__(self, plane: ControlPlane, kube: Kube, namespace: str, name: str) -> None:
        self.name = name
        self._cluster = yaml.safe_load(plane.kubeconfig.read_text())["clusters"][0]["cluster"]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        self.token: str = kube._request("POST", path, body=request)["status"]["token"]
        authority = base64.b64decode(self._cluster["certificate-authority-data"]).decode()
        self._http = httpx.Client(
            base_url=self._cluster["server"],
            verify=ssl.create_default_context(cadata=authority),
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=30,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def request(
        self, method: str, path: str, body: Manifest | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, str]:
        """Status of the answer, and its message if it is a refusal."""
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self._http.request(method, path, json=body, headers={"Content-Type": media, **(headers or {})})
        return answer.status_code, str(answer.json().get("message", ""))

    def kubeconfig(self, folder: Path, token_file: Path | None = None) -> Path:
        """A kubeconfig for a process, with this token, or with the file that has the token."""
        user = {"tokenFile": str(token_file)} if token_file else {"token": self.token}
        return kubeconfig(folder / f"{self.name}.kubeconfig", self._cluster, user)


def kubeconfig(path: Path, cluster: dict[str, Any], user: dict[str, str]) -> Path:
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(content))
    return path
