"""A node for this package, or the cluster that KUBECONFIG names, with chart and example running."""

import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from image.__main__ import architecture, images
from image.archive import pack_image, pack_layer
from tests.chart import logins
from tests.chart.helm import NAMESPACE, helm
from tests.controlplane import Cluster, binaries, open_cluster
from tests.debian import program

from . import envoy, users, valkey
from .machine import obstacle
from .node import Node
from .programs import Programs
from .settings import PAUSE
from .system import NAMESPACES, TIMEOUT_SECONDS, System


@pytest.fixture(scope="package")
def machine() -> None:
    """Skip with the reason if this machine cannot run Pods."""
    if why := obstacle():
        pytest.skip(f"{why}; KUBECONFIG may name a cluster instead")


@pytest.fixture(scope="package")
def archives(machine: None) -> Iterator[list[Path]]:
    """Both images, as they are loaded into a node."""
    program("mmdebstrap", package="mmdebstrap")
    program("/usr/bin/python3.11", package="python3")
    with tempfile.TemporaryDirectory() as folder:
        yield images(Path(folder))


@pytest.fixture(scope="package")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    helm("version")
    if os.environ.get("KUBECONFIG"):
        with open_cluster() as existing:
            yield existing
        return
    request.getfixturevalue("machine")
    # The first build takes minutes: show its progress.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        binaries.build()
    programs = Programs.ready()
    with tempfile.TemporaryDirectory() as folder:
        own = [pause(programs, Path(folder)), valkey.archive(Path(folder)), envoy.archive(Path(folder))]
        loaded = [*own, *request.getfixturevalue("archives")]
        with Node(programs, loaded) as node:
            yield node


@pytest.fixture(scope="package")
def system(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The chart and the HR example, running, under a continuous load of token requests."""
    system = System(cluster, tmp_path_factory.mktemp("authority"))
    system.check_cluster_is_unused()
    try:
        system.install()
        system.apply_hr()
        system.start_load()
        yield system
    finally:
        # A node of these tests ends with everything in it.
        if not isinstance(cluster, Node):
            system.uninstall()


@pytest.fixture(scope="package")
def node(cluster: Cluster) -> Node:
    """For tests that call Services, so that they must be in the network of the cluster."""
    if not isinstance(cluster, Node):
        pytest.skip("this test calls Services, so it must be in the network of the cluster")
    return cluster


@pytest.fixture
def service_names(node: Node, system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of Services are resolved in this process, as a cluster's DNS would: `<service>.<namespace>.svc`."""
    look_up, address = socket.getaddrinfo, functools.cache(system.address)

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        if isinstance(host, str) and host.endswith(".svc"):
            service, namespace, _ = host.split(".")
            host = address(namespace, service)
        return look_up(host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture(scope="package")
def sessions(node: Node, system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the sessions of users, who can log in from here on. The only issuer is then in the only Pod of
    the operator.
    """
    folder = tmp_path_factory.mktemp("users") / "sessions"
    folder.mkdir()
    system.apply(users.local_volume(folder))
    system.helm("upgrade", users.RELEASE_VALUES, "--wait", f"--timeout={TIMEOUT_SECONDS}s")
    system.apply(*logins.of_platform())
    system.wait_for("condition=Ready", f"identityproviders.scopewright.dev/{logins.PROVIDER}", NAMESPACE)
    system.wait_for("condition=Ready", "signingkeys.scopewright.dev/id-tokens", NAMESPACE)
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of Pods and node to the report of a failed test."""
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, System):
                report.sections += [(f"Pods of {name}", used.pods(name)) for name in NAMESPACES]
            if isinstance(used, Node):
                report.sections.append(("node", used.logs()))
    return report


def pause(programs: Programs, folder: Path) -> Path:
    """The pause image: its process holds the namespaces of a Pod."""
    (folder / "root").mkdir()
    shutil.copy(programs.pause, folder / "root" / "pause")
    pack_layer(folder / "root", folder / "layer")
    pack_image(folder / "pause.tar", PAUSE, [folder / "layer"], {"Entrypoint": ["/pause"]}, architecture())
    return folder / "pause.tar"
