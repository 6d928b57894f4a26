"""The shared replay memory of the issuers: Debian's Valkey or Redis in a Pod, alone in its image.

    python -m tests.node.valkey FOLDER

writes that image as an archive, for a cluster that KUBECONFIG names.
"""

import secrets
import sys
from pathlib import Path
from typing import Final

from tests.cluster.kube import Manifest
from tests.debian import program

from .manifests import CONTAINER_SECURITY, POD_SECURITY, plain, restricted_namespace
from .program_image import program_image

NAMESPACE: Final = "valkey"
PASSWORD: Final = secrets.token_urlsafe(16)
_IMAGE: Final = "scopewright.example/valkey:built"
_PORT: Final = 6379
_CONFIG: Final = "/etc/valkey"


def archive(folder: Path) -> Path:
    server = program("valkey-server", "redis-server", package="redis-server")
    return program_image(folder / "valkey.tar", _IMAGE, server, f"{_CONFIG}/valkey.conf")


def manifests() -> list[Manifest]:
    """It stores nothing on disk and requires the password."""
    config = f'bind 0.0.0.0\nport {_PORT}\nrequirepass {PASSWORD}\nsave ""\n'
    container = {
        "name": "valkey",
        "image": _IMAGE,
        "imagePullPolicy": "Never",
        "ports": [{"name": "valkey", "containerPort": _PORT}],
        "readinessProbe": {"tcpSocket": {"port": "valkey"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "25m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "config", "mountPath": _CONFIG, "readOnly": True}],
    }
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "config", "secret": {"secretName": "valkey"}}],
    }
    pod = plain("Pod", NAMESPACE, "valkey", spec=spec)
    pod["metadata"]["labels"] = {"app.kubernetes.io/name": "valkey"}
    ports = [{"port": _PORT, "targetPort": "valkey"}]
    return [
        restricted_namespace(NAMESPACE),
        plain("Secret", NAMESPACE, "valkey", stringData={"valkey.conf": config}),
        plain("Service", NAMESPACE, "valkey", spec={"selector": pod["metadata"]["labels"], "ports": ports}),
        pod,
    ]


def url(address: str) -> str:
    """The URL for `issuer.replay`."""
    return f"redis://:{PASSWORD}@{address}:{_PORT}/0"


if __name__ == "__main__":
    print(archive(Path(sys.argv[1])))
