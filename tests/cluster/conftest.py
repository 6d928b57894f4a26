"""Every test here runs on a real control plane. One that cannot be had is a failure, never a skip."""

import contextlib
import subprocess
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config

from tests.controlplane import Cluster, ControlPlane, open_cluster

from .installation import Install, Installation
from .kube import Kube

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
    serve_crds(control_plane)
    if control_plane.restartable:
        control_plane.restart_controllers()
    return control_plane


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Iterator[client.ApiClient]:
    """As a cluster administrator."""
    with connected(control_plane.kubeconfig) as administrator:
        yield administrator


@pytest.fixture
def as_user(control_plane: Cluster) -> Iterator[Callable[..., client.ApiClient]]:
    """as_user("name", "group", ...) calls as somebody else, who has no rights but those that RBAC grants."""
    with contextlib.ExitStack() as leaving:
        yield lambda user, *groups: leaving.enter_context(connected(control_plane.kubeconfig_for(user, *groups)))


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


@pytest.fixture
def make_namespace(kube: Kube) -> Iterator[Callable[[str], str]]:
    """make_namespace("payroll") makes one of that name and something after it."""
    made: list[str] = []

    def make(name: str) -> str:
        made.append(f"{name}-{uuid.uuid4().hex[:8]}")
        kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made[-1]}})
        return made[-1]

    yield make
    for name in made:
        kube.delete("Namespace", "", name)


@pytest.fixture(scope="session")
def kube(api: client.ApiClient) -> Iterator[Kube]:
    """As a cluster administrator."""
    kube = Kube(api)
    yield kube
    kube.close()


@pytest.fixture(scope="module")
def install(crds: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """install("name", resync="1s", …) puts up an installation that goes with the test's module."""
    with contextlib.ExitStack() as leaving:

        def install(name: str, **settings: Any) -> Installation:
            name = f"{name}-{uuid.uuid4().hex[:6]}"
            return leaving.enter_context(Installation(crds, kube, tmp_path_factory.mktemp(name), name, **settings))

        yield install


@pytest.fixture(scope="session")
def installation(crds: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The one that tests share; they leave it running. Namespaces `favoured` may have audiences under hr.example."""
    name = f"shared-{uuid.uuid4().hex[:6]}"
    favoured = [{"prefix": "https://hr.example/apis", "namespaces": [f"favoured-{name}"]}]
    with Installation(crds, kube, tmp_path_factory.mktemp(name), name, audiences=favoured) as installed:
        yield installed


@pytest.fixture(scope="session")
def own_plane(control_plane: Cluster) -> Iterator[ControlPlane]:
    """A control plane to break: others know nothing of what is stopped or deleted there."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that is not ours to stop; unset it to run this")
    with ControlPlane() as plane:
        serve_crds(plane)
        plane.restart_controllers()
        yield plane


@pytest.fixture
def own_installation(own_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation on a control plane to break."""
    name = f"own-{uuid.uuid4().hex[:6]}"
    with (
        connected(own_plane.kubeconfig) as api,
        contextlib.closing(Kube(api)) as kube,
        Installation(own_plane, kube, tmp_path_factory.mktemp(name), name, resync="1s") as installed,
    ):
        yield installed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside a failure, what operator and issuer had to say."""
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Installation):
                report.sections.append((f"logs of {used.name}", used.logs()))
    return report


def serve_crds(cluster: Cluster) -> None:
    files = sorted(_CRDS.glob("*.yaml"))
    assert files, "crds/ is empty: run `make crds`"
    given = [f"--filename={file}" for file in files]
    _kubectl(cluster, "apply", "--server-side", "--force-conflicts", *given)
    _kubectl(cluster, "wait", "--for=condition=Established", "--timeout=30s", *given)


def connected(kubeconfig: Path) -> client.ApiClient:
    """As whoever the kubeconfig says."""
    api: client.ApiClient = config.new_client_from_config(config_file=str(kubeconfig))
    return api


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    done = subprocess.run(
        [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
