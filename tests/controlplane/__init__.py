"""A real Kubernetes control plane on loopback, without containers; or the cluster that KUBECONFIG names."""

import os

from .binaries import Binaries, build, find
from .cluster import Cluster
from .controlplane import ControlPlane
from .errors import ControlPlaneError
from .existing import ExistingCluster

__all__ = [
    "Binaries",
    "Cluster",
    "ControlPlane",
    "ControlPlaneError",
    "ExistingCluster",
    "build",
    "find",
    "open_cluster",
]


def open_cluster() -> Cluster:
    """The cluster that KUBECONFIG names, or a control plane that runs while it is entered."""
    named = os.environ.get("KUBECONFIG")
    return ExistingCluster(named) if named else ControlPlane()
