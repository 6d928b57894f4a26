"""Users log in at the issuer in its Pod, and stay logged in when the Pod is replaced. Runs after test_node.py, because
the load gets no tokens during that replacement.
"""

import base64
import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chart import logins
from tests.chart.helm import NAMESPACE, merged
from tests.cluster.kube import Manifest
from tests.cluster.waiting import until
from tests.harness.relying_party import TokenResponse

from .node import Node
from .system import RELEASE, TIMEOUT_SECONDS, VALUES, System

DEPLOYMENT = f"{RELEASE}-operator"
"""In mode sidecar, the issuer is in its Pods."""
HOSTS = {f"{RELEASE}-issuer.{NAMESPACE}.svc": (NAMESPACE, f"{RELEASE}-issuer"), "payroll.payroll.svc": ("payroll",) * 2}
"""The Services that this test calls."""


@pytest.fixture
def users(system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """With users enabled. Names of Services are resolved in this process."""
    if not isinstance(system.cluster, Node):
        pytest.skip("this test calls Services, so it must be in the network of the cluster")
    (tmp_path / "sessions").mkdir()
    system.apply(local_volume(tmp_path / "sessions"))
    values = merged(VALUES, logins.VALUES)
    system.helm("upgrade", values, "--wait", f"--timeout={TIMEOUT_SECONDS}s")
    system.apply(*logins.of_platform(), *logins.of_teams())
    system.wait_for("condition=Ready", f"identityproviders.scopewright.dev/{logins.PROVIDER}", NAMESPACE)
    system.wait_for("condition=Ready", "signingkeys.scopewright.dev/id-tokens", NAMESPACE)
    system.wait_for("condition=LoginAllowed", f"oauthclients.scopewright.dev/{logins.APPLICATION}", logins.TEAM)
    (tmp_path / "ca.crt").write_bytes(system.authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    addresses = {host: system.address(*service) for host, service in HOSTS.items()}
    look_up = socket.getaddrinfo

    def resolved(host: Any, *arguments: Any, **more: Any) -> Any:
        return look_up(addresses.get(host, host), *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return system


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


def test_a_user_logs_in_and_stays_logged_in_when_the_pod_is_replaced(users: System, tmp_path: Path) -> None:
    client_id, secret = credential(users)
    with logins.Visitor(VALUES["issuer"]["url"], client_id, secret) as user:
        first = user.log_in()
        assert salary(first.access_token) == 200
        assert salary(first.id_token) == 401, "an ID token is no access token"
        started = time.monotonic()
        users.restart({DEPLOYMENT: NAMESPACE})
        print(f"the only issuer Pod was replaced in {time.monotonic() - started:.0f} s")
        until(answers)  # the Pod is ready a moment before the node routes the Service to it
        again = user.log_in(prompt="none")
        assert user.passwords_asked == 1
        assert again.claims["auth_time"] == first.claims["auth_time"]
        assert salary(again.access_token) == 200
        assert salary(user.refreshed(first).access_token) == 200
        end_in_pod(users, user, again)
    files = {file.name: (file.stat().st_uid, file.stat().st_mode & 0o777) for file in (tmp_path / "sessions").iterdir()}
    assert files["sessions.db"] == (65532, 0o600)


def end_in_pod(system: System, user: logins.Visitor, tokens: TokenResponse) -> None:
    """`scopewright users` takes its settings from the environment of the container; its audit line is in the log."""
    sub = tokens.claims["sub"]
    (found,) = json.loads(in_pod(system, "find", sub, "--output", "json"))
    assert tokens.claims["sid"] in {session["sid"] for session in found["sessions"]}
    assert sub in in_pod(system, "list")
    assert "every access token of the user" in in_pod(system, "end", sub, "--yes")
    asked = user.passwords_asked
    user.log_in()
    assert user.passwords_asked == asked + 1
    log = system.kubectl("logs", f"--namespace={NAMESPACE}", f"deployment/{DEPLOYMENT}", "--container=issuer")
    (line,) = (json.loads(line) for line in log.splitlines() if '"event":"users_end"' in line)
    assert (line["result"], line["subject"]) == ("ended", sub)


def in_pod(system: System, *arguments: str) -> str:
    """What `scopewright users` prints in the container of the issuer."""
    where = (f"--namespace={NAMESPACE}", f"deployment/{DEPLOYMENT}", "--container=issuer")
    return system.kubectl("exec", *where, "--", "scopewright", "users", *arguments)


def answers() -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return httpx.get(f"{VALUES['issuer']['url']}/.well-known/openid-configuration", timeout=30).is_success
    return False


def credential(system: System) -> tuple[str, str]:
    """Client id and secret of the application."""
    name = f"secret/{logins.APPLICATION}-oauth"
    found = json.loads(system.kubectl("get", f"--namespace={logins.TEAM}", name, "--output=json"))
    entries = {entry: base64.b64decode(value).decode() for entry, value in found["data"].items()}
    return entries["client_id"], entries["client_secret"]


def salary(token: str) -> int:
    """The status of the answer of the payroll team's API."""
    url, headers = "http://payroll.payroll.svc/salaries/7", {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, timeout=30).status_code
