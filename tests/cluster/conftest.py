"""Every test here runs on a real control plane. If it cannot be built, the tests fail; they are not skipped."""

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
    # The first build takes minutes: show its progress.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        cluster.__enter__()
    with contextlib.ExitStack() as stack:
        stack.push(cluster)
        yield cluster


@pytest.fixture
def restartable(control_plane: Cluster) -> Cluster:
    """The control plane, for a test that stops parts of it."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that the tests must not stop; unset it to run this")
    return control_plane


@pytest.fixture(scope="session")
def crds(control_plane: Cluster) -> Cluster:
    """The control plane with the five CRDs."""
    serve_crds(control_plane)
    if control_plane.restartable:
        control_plane.restart_controllers()
    return control_plane


@pytest.fixture(scope="session")
def api(control_plane: Cluster) -> Iterator[client.ApiClient]:
    """With the rights of a cluster administrator."""
    with connected(control_plane.kubeconfig) as administrator:
        yield administrator


@pytest.fixture
def as_user(control_plane: Cluster) -> Iterator[Callable[..., client.ApiClient]]:
    """as_user("name", "group", ...) is a client with the rights that RBAC grants to that user."""
    with contextlib.ExitStack() as stack:
        yield lambda user, *groups: stack.enter_context(connected(control_plane.kubeconfig_for(user, *groups)))


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
        if error.status not in (404, 409):  # the test has deleted it
            raise


@pytest.fixture
def make_namespace(kube: Kube) -> Iterator[Callable[[str], str]]:
    """make_namespace("payroll") creates a namespace of that name with a random suffix."""
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
    """With the rights of a cluster administrator."""
    kube = Kube(api)
    yield kube
    kube.close()


@pytest.fixture(scope="module")
def install(crds: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    """install("name", resync="1s", …) starts an installation that ends with the test module."""
    with contextlib.ExitStack() as stack:

        def install(name: str, **settings: Any) -> Installation:
            name = f"{name}-{uuid.uuid4().hex[:6]}"
            return stack.enter_context(Installation(crds, kube, tmp_path_factory.mktemp(name), name, **settings))

        yield install


@pytest.fixture(scope="session")
def installation(crds: Cluster, kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """The shared installation, which tests leave running."""
    name = f"shared-{uuid.uuid4().hex[:6]}"
    audiences = [{"prefix": "https://hr.example/apis", "namespaces": [f"audiences-{name}"]}]
    with Installation(crds, kube, tmp_path_factory.mktemp(name), name, audiences=audiences) as installed:
        yield installed


@pytest.fixture(scope="session")
def own_plane(control_plane: Cluster) -> Iterator[ControlPlane]:
    """A control plane that no other test uses, so that parts of it may be stopped or deleted."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that the tests must not stop; unset it to run this")
    with ControlPlane() as plane:
        serve_crds(plane)
        plane.restart_controllers()
        yield plane


@pytest.fixture
def own_installation(own_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation on `own_plane`."""
    name = f"own-{uuid.uuid4().hex[:6]}"
    with (
        connected(own_plane.kubeconfig) as api,
        contextlib.closing(Kube(api)) as kube,
        Installation(own_plane, kube, tmp_path_factory.mktemp(name), name, resync="1s") as installed,
    ):
        yield installed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of operator and issuer to the report of a failed test."""
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
    api: client.ApiClient = config.new_client_from_config(config_file=str(kubeconfig))
    return api


def _kubectl(cluster: Cluster, *arguments: str) -> None:
    done = subprocess.run(
        [cluster.kubectl, "--kubeconfig", cluster.kubeconfig, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
