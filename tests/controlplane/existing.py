"""The cluster that KUBECONFIG names: kind, k3d, or `make cluster` in another terminal."""

import base64
import hashlib
import json
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import binaries, certificates
from .cluster import Cluster
from .errors import ControlPlaneError
from .folders import Folder


class ExistingCluster(Cluster):
    def __init__(self, named: str) -> None:
        self._named = named

    def __enter__(self) -> Self:
        found = shutil.which("kubectl")
        self.kubectl = Path(found) if found else binaries.build().kubectl
        self._folder = Folder(None)
        try:
            # A copy of the current context, so that a later change of context has no effect.
            config = self._kubectl(
                "--kubeconfig", self._named, "config", "view", "--raw", "--minify", "--flatten", "-ojson"
            )
            self._cluster: dict[str, object] = json.loads(config)["clusters"][0]["cluster"]
            self.kubeconfig = certificates.write_private(self._folder.path / "kubeconfig", config.encode())
            self._kubectl("get", "--raw", "/readyz")
        except BaseException:
            self._folder.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.close()

    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        """With a certificate that the cluster signs; it refuses the group system:masters."""
        request, key = certificates.signing_request(user, groups)
        name = f"scopewright-test-{uuid.uuid4().hex[:12]}"
        wanted = {
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": certificates.text(request),
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["digital signature", "client auth"],
            },
        }
        self._kubectl("create", "-f", "-", given=json.dumps(wanted))
        try:
            self._kubectl("certificate", "approve", name)
            certificate = self._signed(name)
        finally:
            self._kubectl("delete", "csr", name, "--wait=false")
        digest = hashlib.sha256("\0".join((user, *groups)).encode()).hexdigest()[:16]
        config = certificates.kubeconfig(self._cluster, certificate, key)
        return certificates.write_private(self._folder.path / f"kubeconfig-{digest}", config)

    def _signed(self, name: str) -> bytes:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            status: dict[str, Any] = json.loads(self._kubectl("get", "csr", name, "-ojson"))["status"]
            if "certificate" in status:
                return base64.b64decode(status["certificate"])
            time.sleep(0.1)
        raise ControlPlaneError("the cluster that KUBECONFIG names signed no client certificate within 30 s")

    def _kubectl(self, *arguments: str, given: str = "") -> str:
        config = [] if "--kubeconfig" in arguments else ["--kubeconfig", str(self.kubeconfig)]
        try:
            done = subprocess.run(
                [self.kubectl, *config, *arguments], input=given, capture_output=True, text=True, timeout=60, check=True
            )
        except subprocess.CalledProcessError as error:
            raise ControlPlaneError(
                f"KUBECONFIG={self._named}: kubectl {' '.join(arguments)} failed: {error.stderr.strip()}"
            ) from None
        return done.stdout
