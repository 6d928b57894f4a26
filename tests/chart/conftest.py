"""A control plane of this package's own: what helm installs there is seen by nobody else."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.cluster.conftest import connected
from tests.cluster.kube import Kube
from tests.controlplane import ControlPlane


@pytest.fixture(scope="package")
def plane() -> Iterator[ControlPlane]:
    with ControlPlane() as started:
        yield started


@pytest.fixture(scope="package")
def kube(plane: ControlPlane) -> Iterator[Kube]:
    """As a cluster administrator."""
    with connected(plane.kubeconfig) as api, contextlib.closing(Kube(api)) as kube:
        yield kube
