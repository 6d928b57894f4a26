"""Every test here runs on a real control plane. One that cannot be had is a failure, never a skip."""

import contextlib
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kubernetes import client, config

from tests.controlplane import Cluster, open_cluster

_CRDS = Path(__file__).resolve().parents[2] / "crds"


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = open_cluster()
    # The first build takes minutes: let its progress be seen.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        cluster.__enter__()
    with contextlib.ExitStack() as leaving:
        leaving.push(cluster)
        yield cluster


@pytest.fixture
def restartable(control_plane: Cluster) -> Cluster:
    """The control plane, for a test that stops parts of it."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that is not ours to stop; unset it to run this")
    return control_plane


@pytest.fixture(scope="session")
def crds(control_plane: Cluster) -> Cluster:
    """The control plane, with our four kinds served."""
    files = sorted(_CRDS.glob("*.yaml"))
    assert files, "crds/ is empty: run `make crds`"
    given = [f"--filename={file}" for file in files]
    _kubectl(control_plane, "apply", "--server-side", "--force-conflicts", *given)
    _kubectl(control_plane, "wait", "--for=condition=Established", "--timeout=30s", *given)
    if control_plane.restartable:
        control_plane.restart_controllers()
    return control_plane


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Iterator[client.ApiClient]:
    """As a cluster administrator."""
    with _connected(control_plane.kubeconfig) as connected:
        yield connected


@pytest.fixture
def as_user(control_plane: Cluster) -> Iterator[Callable[..., client.ApiClient]]:
    """as_user("name", "group", ...) calls as somebody else, who has no rights but those that RBAC grants."""
    with contextlib.ExitStack() as leaving:
        yield lambda user, *groups: leaving.enter_context(_connected(control_plane.kubeconfig_for(user, *groups)))


@pytest.fixture
def namespace(api: client.ApiClient) -> Iterator[str]:
    """The name of a new, empty namespace."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    core = client.CoreV1Api(api)
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    try:
        core.delete_namespace(name)
    except client.ApiException as error:
        if error.status not in (404, 409):  # the test has deleted it itself
            raise


def _connected(kubeconfig: Path) -> client.ApiClient:
    connected: client.ApiClient = config.new_client_from_config(config_file=str(kubeconfig))
    return connected


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    done = subprocess.run(
        [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
