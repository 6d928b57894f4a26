"""Invalid input ends the command at once: a message that says what to do, an exit code, no traceback."""

import os
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.controlplane import Cluster, ControlPlane
from tests.ports import free_port

from .installation import Installation
from .kube import Kube
from .processes import SCOPEWRIGHT, ScopewrightProcess
from .waiting import until

LOOPBACK = "http://127.0.0.1:8080"


def refusal(*arguments: str, home: Path, code: int = 1, **environment: str) -> str:
    """Standard error of a command that exits with `code`."""
    done = subprocess.run(
        [SCOPEWRIGHT, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": os.defpath, "HOME": str(home), "COLUMNS": "200", **environment},
        cwd=home,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    # typer draws a frame around messages.
    return re.sub(r"[\s│╭╮╰╯─]+", " ", done.stderr)


@pytest.fixture
def free_listen_address() -> list[str]:
    return ["--listen", f"127.0.0.1:{free_port()}"]


# No cluster


@pytest.mark.parametrize("command", [["operator", "--issuer-url", LOOPBACK], ["issuer"]], ids=["operator", "issuer"])
def test_a_missing_kubeconfig_is_refused(tmp_path: Path, free_listen_address: list[str], command: list[str]) -> None:
    output = refusal(*command, *free_listen_address, home=tmp_path)
    assert "cannot connect to a cluster" in output
    assert "set KUBECONFIG, pass --kubeconfig FILE" in output


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe", b"- a\n- b\n", b"apiVersion: v1\nkind: Config\n"])
def test_an_invalid_kubeconfig_is_refused(
    tmp_path: Path, free_listen_address: list[str], content: bytes | None
) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_bytes(content)
    output = refusal("issuer", *free_listen_address, "--kubeconfig", str(file), home=tmp_path)
    assert "cannot connect to a cluster" in output


# No rights


def test_without_rights_every_missing_right_is_named(
    crds: Cluster, tmp_path: Path, free_listen_address: list[str]
) -> None:
    without_rights = crds.kubeconfig_for("scopewright-without-rights")
    output = refusal(
        "operator", "--issuer-url", LOOPBACK, "--namespace", "default", *free_listen_address,
        home=tmp_path, KUBECONFIG=str(without_rights),
    )  # fmt: skip
    assert "rights are missing; grant them to the operator's ServiceAccount" in output
    for right in (
        "list oauthclients.scopewright.dev in the whole cluster",
        "update oauthclients/status.scopewright.dev in the whole cluster",
        "create secrets in the whole cluster",
        "update leases.coordination.k8s.io in namespace default",
        "watch configmaps in namespace default",
        "create events.events.k8s.io in the whole cluster",
    ):
        assert right in output


def test_a_single_missing_right_is_named_alone(
    crds: Cluster, kube: Kube, tmp_path: Path, free_listen_address: list[str]
) -> None:
    installation = Installation(crds, kube, tmp_path, f"lacking-{uuid.uuid4().hex[:6]}")
    installation.install()
    try:
        everything = kube.get("ClusterRole", "", installation.user("operator"))
        assert everything is not None
        rules = [r for r in everything["rules"] if (r["resources"], r["verbs"]) != (["secrets"], ["delete"])]
        assert len(rules) == len(everything["rules"]) - 1
        kube.patch("ClusterRole", "", installation.user("operator"), {"rules": rules})
        until(lambda: not installation.is_allowed("operator", "secrets", "delete"))
        config = crds.kubeconfig_for(installation.user("operator"))
        found = refusal(
            *installation.operator_arguments(), *free_listen_address, "--kubeconfig", str(config), home=tmp_path
        )
    finally:
        installation.close()
    assert found.count(" in the whole cluster") == 1
    assert "delete secrets in the whole cluster" in found


def test_an_issuer_without_rights_names_them_and_waits(installation: Installation, tmp_path: Path) -> None:
    without_rights = installation.cluster.kubeconfig_for("scopewright-without-rights")
    url, log = f"http://127.0.0.1:{free_port()}", tmp_path / "issuer.log"
    arguments = ["issuer", "--namespace", installation.namespace, "--listen", url.removeprefix("http://")]
    issuer = ScopewrightProcess([*arguments, "--kubeconfig", str(without_rights)], log)
    try:
        until(lambda: "cannot list resource" in log.read_text(), log.read_text)
        assert installation.namespace in log.read_text()
        answer = httpx.get(f"{url}/readyz", trust_env=False)
        assert answer.status_code == 503
        assert "the issuer record" in answer.json()["missing"]
        refused = httpx.post(f"{url}/token", data={"grant_type": "client_credentials"}, trust_env=False)
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
    finally:
        issuer.kill()


def test_an_identity_that_the_api_server_rejects_is_reported(
    crds: Cluster, tmp_path: Path, free_listen_address: list[str]
) -> None:
    """For example, an expired token."""
    text = crds.kubeconfig.read_text()
    broken = tmp_path / "kubeconfig"
    broken.write_text(re.sub(r'"user": \{[^}]*\}', '"user": {"token": "expired"}', text))
    output = refusal(
        "operator", "--issuer-url", LOOPBACK, *free_listen_address, "--kubeconfig", str(broken), home=tmp_path
    )
    assert "does not accept the client's identity" in output


# No CRDs, no namespace, no API server


@pytest.fixture(scope="module")
def bare_plane(control_plane: Cluster) -> Iterator[ControlPlane]:
    """Without CRDs."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that the tests must not stop; unset it to run this")
    with ControlPlane() as plane:
        yield plane


def test_missing_crds_are_reported(bare_plane: ControlPlane, tmp_path: Path, free_listen_address: list[str]) -> None:
    output = refusal(
        "operator", "--issuer-url", LOOPBACK, *free_listen_address, home=tmp_path, KUBECONFIG=str(bare_plane.kubeconfig)
    )
    for plural in ("oauthclients", "resourceservers", "scopegrants", "signingkeys"):
        assert f"{plural}.scopewright.dev" in output
    assert "kubectl apply --server-side -f crds/" in output


def test_operator_and_issuer_wait_for_an_unreachable_api_server(bare_plane: ControlPlane, tmp_path: Path) -> None:
    bare_plane.stop_apiserver()
    log = tmp_path / "operator.log"
    arguments = ["operator", "--issuer-url", LOOPBACK, "--listen", f"127.0.0.1:{free_port()}"]
    waiting = ScopewrightProcess([*arguments, "--kubeconfig", str(bare_plane.kubeconfig)], log)
    try:
        until(lambda: log.read_text().count("cannot be reached") >= 2, log.read_text)
        assert waiting.alive()
        bare_plane.start_apiserver()
        # It continues: here, to the message about missing CRDs.
        assert waiting.exit_code() == 1
        assert "oauthclients.scopewright.dev" in log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        waiting.kill()
        bare_plane.start_apiserver()


def test_a_process_that_waits_for_the_api_server_can_be_stopped(bare_plane: ControlPlane, tmp_path: Path) -> None:
    bare_plane.stop_apiserver()
    log = tmp_path / "operator.log"
    arguments = ["operator", "--issuer-url", LOOPBACK, "--listen", f"127.0.0.1:{free_port()}"]
    waiting = ScopewrightProcess([*arguments, "--kubeconfig", str(bare_plane.kubeconfig)], log)
    try:
        until(lambda: "cannot be reached" in log.read_text(), log.read_text)
        waiting.terminate()
        assert waiting.exit_code(seconds=15) == 0
        assert "Traceback" not in log.read_text()
    finally:
        waiting.kill()
        bare_plane.start_apiserver()


def test_a_missing_namespace_is_reported(crds: Cluster, tmp_path: Path, free_listen_address: list[str]) -> None:
    output = refusal(
        "operator", "--issuer-url", LOOPBACK, "--namespace", "no-such", *free_listen_address,
        home=tmp_path, KUBECONFIG=str(crds.kubeconfig),
    )  # fmt: skip
    assert "namespace no-such does not exist: kubectl create namespace no-such" in output


# Ports and flags


@pytest.mark.parametrize("command", [["operator", "--issuer-url", LOOPBACK], ["issuer"]], ids=["operator", "issuer"])
def test_an_occupied_port_is_reported(crds: Cluster, tmp_path: Path, command: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        output = refusal(*command, "--listen", f"127.0.0.1:{port}", home=tmp_path, KUBECONFIG=str(crds.kubeconfig))
    assert f"cannot listen on 127.0.0.1:{port}" in output
    assert "--listen" in output


def test_an_invalid_listen_address_is_refused(tmp_path: Path) -> None:
    for command in (["operator", "--issuer-url", LOOPBACK], ["issuer"]):
        assert "pass HOST:PORT" in refusal(*command, "--listen", "127.0.0.1:http", home=tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["operator", "--no-such-flag"], "--no-such-flag"),
        (["operator", "--log-level", "loud"], "--log-level"),
        (["operator", "--log-format", "xml"], "--log-format"),
        (["issuer", "more"], "more"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_invalid_flags_are_refused(tmp_path: Path, flags: list[str], message: str) -> None:
    assert message in refusal(*flags, home=tmp_path, code=2)


def test_a_missing_issuer_url_is_refused(tmp_path: Path, free_listen_address: list[str]) -> None:
    output = refusal("operator", *free_listen_address, home=tmp_path)
    assert "issuer" in output


def test_an_invalid_issuer_url_is_refused(tmp_path: Path, free_listen_address: list[str]) -> None:
    output = refusal("operator", "--issuer-url", "http://issuer.example.org", *free_listen_address, home=tmp_path)
    assert "the configuration cannot be used: issuer:" in output
    assert "http is allowed for loopback only" in output


# The configuration file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"issuer: [unclosed", "is not YAML"),
        (b"\x00\x01\xff", "cannot be read"),
        (b"just text", "must hold a mapping"),
        (b"isuer: https://issuer.example.org", "isuer"),
        (b"issuer: http://issuer.example.org", "http is allowed for loopback only"),
        (b"issuer: https://i.example\nresync: 1ms", "resync must be between 1s and 10m"),
        (None, "cannot be read"),
    ],
)
def test_an_invalid_configuration_file_is_refused(
    tmp_path: Path, free_listen_address: list[str], content: bytes | None, message: str
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    output = refusal("operator", "--config", str(file), *free_listen_address, home=tmp_path)
    assert message in output
    assert "config.yaml" in output


def test_two_issuers_cannot_have_one_port(installation: Installation, tmp_path: Path) -> None:
    output = refusal(
        "issuer", "--namespace", installation.namespace, "--listen", installation.issuer_url.removeprefix("http://"),
        home=tmp_path, KUBECONFIG=str(installation.cluster.kubeconfig),
    )  # fmt: skip
    assert "stop the process that uses it, or pass another --listen" in output
