"""Users log in at the issuer in its Pod, and stay logged in when the Pod is replaced. Runs after test_node.py, because
the load gets no tokens during that replacement.
"""

import contextlib
import json
import time
from pathlib import Path

import httpx
import pytest

from tests.chart import logins
from tests.chart.helm import NAMESPACE
from tests.cluster.waiting import until
from tests.harness.relying_party import TokenResponse

from .system import RELEASE, VALUES, System

DEPLOYMENT = f"{RELEASE}-operator"
"""In mode sidecar, the issuer is in its Pods."""


@pytest.fixture
def users(
    sessions: Path, service_names: None, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> System:
    """With the application of the staff, and this process as a part of it."""
    system.apply(*logins.of_teams())
    system.wait_for("condition=LoginAllowed", f"oauthclients.scopewright.dev/{logins.APPLICATION}", logins.TEAM)
    (tmp_path / "ca.crt").write_bytes(system.authority)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    return system


def test_a_user_logs_in_and_stays_logged_in_when_the_pod_is_replaced(users: System, sessions: Path) -> None:
    application = users.credential(logins.TEAM, logins.APPLICATION)
    with logins.Visitor(VALUES["issuer"]["url"], application["client_id"], application["client_secret"]) as user:
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
    files = {file.name: (file.stat().st_uid, file.stat().st_mode & 0o777) for file in sessions.iterdir()}
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


def salary(token: str) -> int:
    """The status of the answer of the payroll team's API."""
    url, headers = "http://payroll.payroll.svc/salaries/7", {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=headers, timeout=30).status_code
