"""Users in the chart on this node: the values of the release, and a volume for their sessions."""

from pathlib import Path
from typing import Any, Final

from tests.chart import logins
from tests.chart.helm import merged
from tests.cluster.kube import Manifest

from .system import VALUES, WEB

APPLICATIONS: Final = [
    *logins.VALUES["config"]["users"]["applications"],
    # By `kubectl port-forward`.
    {"namespaces": [WEB], "hosts": ["127.0.0.1"]},
]
RELEASE_VALUES: Final[dict[str, Any]] = merged(
    merged(VALUES, logins.VALUES), {"config": {"users": {"applications": APPLICATIONS}}}
)


def local_volume(folder: Path) -> Manifest:
    """For the claim of the chart: this node has no storage class. The kubelet gives it to the Pod's fsGroup."""
    node = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "local": {"path": str(folder)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [node]}]}},
    }
    return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "sessions"}, "spec": spec}
