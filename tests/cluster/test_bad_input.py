"""What cannot work is said at once, in words that tell what to do, with an exit code and without a traceback."""

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
    """What the command says on standard error when it does not even start."""
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
    # typer draws a frame around what it has to say.
    return re.sub(r"[\s│╭╮╰╯─]+", " ", done.stderr)


@pytest.fixture
def somewhere() -> list[str]:
    return ["--listen", f"127.0.0.1:{free_port()}"]


# No cluster


@pytest.mark.parametrize("command", [["operator", "--issuer-url", LOOPBACK], ["issuer"]], ids=["operator", "issuer"])
def test_a_missing_kubeconfig_is_refused(tmp_path: Path, somewhere: list[str], command: list[str]) -> None:
    said = refusal(*command, *somewhere, home=tmp_path)
    assert "no cluster to talk to" in said
    assert "set KUBECONFIG, pass --kubeconfig FILE" in said


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff\xfe", b"- a\n- b\n", b"apiVersion: v1\nkind: Config\n"])
def test_an_invalid_kubeconfig_is_refused(tmp_path: Path, somewhere: list[str], content: bytes | None) -> None:
    file = tmp_path / "kubeconfig"
    if content is not None:
        file.write_bytes(content)
    said = refusal("issuer", *somewhere, "--kubeconfig", str(file), home=tmp_path)
    assert "no cluster to talk to" in said


# No rights


def test_without_rights_every_missing_right_is_named(crds: Cluster, tmp_path: Path, somewhere: list[str]) -> None:
    nobody = crds.kubeconfig_for("scopewright-nobody")
    said = refusal(
        "operator", "--issuer-url", LOOPBACK, "--namespace", "default", *somewhere,
        home=tmp_path, KUBECONFIG=str(nobody),
    )  # fmt: skip
    assert "rights are missing; grant them to the operator's ServiceAccount" in said
    for right in (
        "list oauthclients.scopewright.dev in every namespace",
        "update oauthclients/status.scopewright.dev in every namespace",
        "create secrets in every namespace",
        "update leases.coordination.k8s.io in namespace default",
        "watch configmaps in namespace default",
        "create events.events.k8s.io in every namespace",
    ):
        assert right in said


def test_a_single_missing_right_is_named_alone(crds: Cluster, kube: Kube, tmp_path: Path, somewhere: list[str]) -> None:
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
        found = refusal(*installation.operator_arguments(), *somewhere, "--kubeconfig", str(config), home=tmp_path)
    finally:
        installation.close()
    assert found.count(" in every namespace") == 1
    assert "delete secrets in every namespace" in found


def test_an_issuer_without_rights_names_them_and_waits(installation: Installation, tmp_path: Path) -> None:
    nobody = installation.cluster.kubeconfig_for("scopewright-nobody")
    url, log = f"http://127.0.0.1:{free_port()}", tmp_path / "blind.log"
    arguments = ["issuer", "--namespace", installation.namespace, "--listen", url.removeprefix("http://")]
    blind = ScopewrightProcess([*arguments, "--kubeconfig", str(nobody)], log)
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
        blind.kill()


def test_an_identity_that_the_api_server_rejects_is_reported(
    crds: Cluster, tmp_path: Path, somewhere: list[str]
) -> None:
    """A token that has expired, say."""
    text = crds.kubeconfig.read_text()
    broken = tmp_path / "kubeconfig"
    broken.write_text(re.sub(r'"user": \{[^}]*\}', '"user": {"token": "expired"}', text))
    said = refusal("operator", "--issuer-url", LOOPBACK, *somewhere, "--kubeconfig", str(broken), home=tmp_path)
    assert "does not accept the client's identity" in said


# No CRDs, no namespace, no API server


@pytest.fixture(scope="module")
def bare_plane(control_plane: Cluster) -> Iterator[ControlPlane]:
    """Without our kinds."""
    if not control_plane.restartable:
        pytest.skip("KUBECONFIG names a cluster that is not ours to stop; unset it to run this")
    with ControlPlane() as plane:
        yield plane


def test_missing_crds_are_reported(bare_plane: ControlPlane, tmp_path: Path, somewhere: list[str]) -> None:
    said = refusal(
        "operator", "--issuer-url", LOOPBACK, *somewhere, home=tmp_path, KUBECONFIG=str(bare_plane.kubeconfig)
    )
    for plural in ("oauthclients", "resourceservers", "scopegrants", "signingkeys"):
        assert f"{plural}.scopewright.dev" in said
    assert "kubectl apply --server-side -f crds/" in said


def test_operator_and_issuer_wait_for_an_unreachable_api_server(bare_plane: ControlPlane, tmp_path: Path) -> None:
    bare_plane.stop_apiserver()
    log = tmp_path / "operator.log"
    arguments = ["operator", "--issuer-url", LOOPBACK, "--listen", f"127.0.0.1:{free_port()}"]
    waiting = ScopewrightProcess([*arguments, "--kubeconfig", str(bare_plane.kubeconfig)], log)
    try:
        until(lambda: log.read_text().count("cannot be reached") >= 2, log.read_text)
        assert waiting.alive()
        bare_plane.start_apiserver()
        # It goes on: here, to find that there are no CRDs.
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


def test_a_missing_namespace_is_reported(crds: Cluster, tmp_path: Path, somewhere: list[str]) -> None:
    said = refusal(
        "operator", "--issuer-url", LOOPBACK, "--namespace", "no-such", *somewhere,
        home=tmp_path, KUBECONFIG=str(crds.kubeconfig),
    )  # fmt: skip
    assert "namespace no-such is not there: kubectl create namespace no-such" in said


# Ports and flags


@pytest.mark.parametrize("command", [["operator", "--issuer-url", LOOPBACK], ["issuer"]], ids=["operator", "issuer"])
def test_an_occupied_port_is_reported(crds: Cluster, tmp_path: Path, command: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refusal(*command, "--listen", f"127.0.0.1:{port}", home=tmp_path, KUBECONFIG=str(crds.kubeconfig))
    assert f"cannot listen on 127.0.0.1:{port}" in said
    assert "--listen" in said


def test_an_invalid_listen_address_is_refused(tmp_path: Path) -> None:
    for command in (["operator", "--issuer-url", LOOPBACK], ["issuer"]):
        assert "pass HOST:PORT" in refusal(*command, "--listen", "127.0.0.1:http", home=tmp_path)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["operator", "--no-such-flag"], "--no-such-flag"),
        (["operator", "--log-level", "loud"], "--log-level"),
        (["operator", "--log-format", "xml"], "--log-format"),
        (["issuer", "more"], "more"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_invalid_flags_are_refused(tmp_path: Path, flags: list[str], told: str) -> None:
    assert told in refusal(*flags, home=tmp_path, code=2)


def test_a_missing_issuer_url_is_refused(tmp_path: Path, somewhere: list[str]) -> None:
    said = refusal("operator", *somewhere, home=tmp_path)
    assert "issuer" in said


def test_an_invalid_issuer_url_is_refused(tmp_path: Path, somewhere: list[str]) -> None:
    said = refusal("operator", "--issuer-url", "http://issuer.example.org", *somewhere, home=tmp_path)
    assert "the configuration cannot be used: issuer:" in said
    assert "http is allowed for loopback only" in said


# The configuration file


@pytest.mark.parametrize(
    ("content", "told"),
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
    tmp_path: Path, somewhere: list[str], content: bytes | None, told: str
) -> None:
    file = tmp_path / "config.yaml"
    if content is not None:
        file.write_bytes(content)
    said = refusal("operator", "--config", str(file), *somewhere, home=tmp_path)
    assert told in said
    assert "config.yaml" in said


def test_two_issuers_cannot_have_one_port(installation: Installation, tmp_path: Path) -> None:
    said = refusal(
        "issuer", "--namespace", installation.namespace, "--listen", installation.issuer_url.removeprefix("http://"),
        home=tmp_path, KUBECONFIG=str(installation.cluster.kubeconfig),
    )  # fmt: skip
    assert "stop the process that uses it, or pass another --listen" in said
