"""A control plane for this package alone, because helm installs cluster-scoped objects."""

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
    """With the rights of a cluster administrator."""
    with connected(plane.kubeconfig) as api, contextlib.closing(Kube(api)) as kube:
        yield kube
