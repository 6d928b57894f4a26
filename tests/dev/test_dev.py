"""`scopewright dev` as users run it: a process with a directory and a port."""

import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
import jwt
import pytest

from scopewright.client import ClientCredentials, MountedSecret, TokenError
from scopewright.client.authentication import ASSERTION_TYPE
from tests.controlplane.certificates import Authority
from tests.ports import free_port

SCOPEWRIGHT = Path(sys.executable).with_name("scopewright")

PAYROLL = """\
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {name: payroll-api, namespace: payroll}
spec:
  scopes:
    - {name: payroll.read, description: Read salaries}
---
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: leave-reads, namespace: payroll}
spec:
  resourceServer: payroll-api
  scopes: [payroll.read]
  to: [{namespace: leave, client: worker}]
"""
WORKER = """\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: leave}
spec:
  access:
    - {resourceServer: payroll-api, namespace: payroll, scopes: [payroll.read]}
"""


class Dev:
    """One directory of manifests, and the process that serves it."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.options = options
        self.manifests, self.state, self.log = folder / "manifests", folder / "state", folder / "log"
        self.manifests.mkdir()
        self.write("payroll.yaml", PAYROLL)
        self.write("worker.yaml", WORKER)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.listen_on = f"127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, text: str) -> None:
        (self.manifests / name).write_text(text)

    def start(self, ready_at: str = "") -> None:
        command: list[str | Path] = [SCOPEWRIGHT, "dev", self.manifests, "--state", self.state]
        command += ["--listen", self.listen_on, *self.options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self.until(lambda: f"issuer ready at {ready_at or self.url}" in self.printed())

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(15)

    def printed(self) -> str:
        return self.log.read_text()

    def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process is None or self.process.poll() is None, self.printed()
            assert time.monotonic() < end, self.printed()
            time.sleep(0.05)

    def secret(self, entry: str) -> str:
        return (self.state / "secrets/leave/worker-oauth" / entry).read_text()

    def token(self, **form: str) -> httpx.Response:
        basic = (self.secret("client_id"), self.secret("client_secret"))
        return httpx.post(self.secret("token_endpoint"), data={"grant_type": "client_credentials", **form}, auth=basic)

    def kids(self) -> list[str]:
        return [key["kid"] for key in httpx.get(f"{self.url}/jwks.json").json()["keys"]]


def command(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([SCOPEWRIGHT, *arguments], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    running = Dev(tmp_path)
    yield running
    if running.process and running.process.poll() is None:
        running.stop(signal.SIGKILL)


def test_a_client_of_the_manifests_gets_a_token(dev: Dev) -> None:
    dev.start()
    assert re.search(r"leave\.worker .* payroll/payroll-api .* payroll\.read", dev.printed())
    assert dev.token().json()["scope"] == "payroll.read"
    mounted = dev.state / "secrets/leave/worker-oauth/client_secret"
    assert mounted.stat().st_mode & 0o777 == 0o600
    status = (dev.state / "status/oauthclient/leave/worker.yaml").read_text()
    assert "Provisioned" in status
    assert dev.secret("client_secret") not in status + dev.printed()


def test_the_first_start_logs_no_warning(dev: Dev) -> None:
    dev.start()
    assert "WARNING" not in dev.printed()


def test_scopes_may_look_like_markup(dev: Dev) -> None:
    odd = "'vault[/read]'"
    dev.write("payroll.yaml", PAYROLL.replace("payroll.read", odd))
    dev.write("worker.yaml", WORKER.replace("payroll.read", odd))
    dev.start()
    assert re.search(r"leave\.worker .* payroll/payroll-api .* vault\[/read\]", dev.printed())
    assert dev.token().json()["scope"] == "vault[/read]"


def test_a_second_signing_key_signs_at_once(dev: Dev) -> None:
    key = "apiVersion: scopewright.dev/v1alpha1\nkind: SigningKey\n"
    dev.write("key.yaml", key + "metadata: {name: rsa, namespace: scopewright-system}\nspec: {algorithm: RS256}\n")
    dev.write("payroll.yaml", PAYROLL.replace("spec:\n  scopes:", "spec:\n  tokens: {signingKey: rsa}\n  scopes:"))
    dev.start()

    def algorithm() -> object:
        sent = dev.token().json().get("access_token")
        return sent and jwt.get_unverified_header(sent)["alg"]

    dev.until(lambda: algorithm() == "RS256")


def test_a_missing_resource_is_named_as_the_cause(dev: Dev) -> None:
    second = PAYROLL.replace("payroll", "bonus")
    dev.write("bonus.yaml", second)
    dev.write("worker.yaml", WORKER + "    - {resourceServer: bonus-api, namespace: bonus, scopes: [bonus.read]}\n")
    dev.start()
    folder = dev.state / "secrets/leave/worker-oauth"
    with pytest.raises(TokenError, match="named no resource: pass resource="):
        ClientCredentials(folder).token_sync()
    assert ClientCredentials(folder, resource="https://bonus-api.bonus.svc").token_sync().scopes == {"bonus.read"}


def test_the_command_for_an_api_with_dpop_has_the_dpop_argument(dev: Dev) -> None:
    required = "spec:\n  tokens: {dpopBoundAccessTokensRequired: true}\n  scopes:"
    dev.write("payroll.yaml", PAYROLL.replace("spec:\n  scopes:", required))
    dev.start()
    folder = dev.state / "secrets/leave/worker-oauth"
    with pytest.raises(TokenError, match="pass dpop=True"):
        ClientCredentials(folder).token_sync()
    assert ClientCredentials(folder, dpop=True).token_sync()


def test_dev_listens_for_containers_and_is_reached_on_loopback(dev: Dev) -> None:
    dev.listen_on = f"0.0.0.0:{dev.port}"
    dev.start()
    assert dev.secret("issuer") == dev.url
    assert dev.token().status_code == 200


def test_keys_and_credentials_survive_a_restart(dev: Dev) -> None:
    dev.start()
    secret, kids = dev.secret("client_secret"), dev.kids()
    assert dev.stop() == 0
    dev.start()
    assert (dev.secret("client_secret"), dev.kids()) == (secret, kids)
    dev.stop(signal.SIGKILL)
    dev.start()
    assert (dev.secret("client_secret"), dev.kids()) == (secret, kids)
    assert dev.token().status_code == 200


def test_a_change_is_in_force_within_seconds(dev: Dev) -> None:
    dev.start()
    dev.write("payroll.yaml", PAYROLL.split("---")[0])
    dev.until(lambda: dev.token().json().get("error") == "invalid_target")
    dev.write("payroll.yaml", PAYROLL)
    dev.until(lambda: dev.token().status_code == 200)


def test_a_client_removed_before_or_between_runs_is_refused(dev: Dev) -> None:
    dev.start()
    basic = (dev.secret("client_id"), dev.secret("client_secret"))
    dev.stop(signal.SIGKILL)
    (dev.manifests / "worker.yaml").unlink()
    dev.start()

    def refused() -> bool:
        answer = httpx.post(f"{dev.url}/token", data={"grant_type": "client_credentials"}, auth=basic)
        return answer.status_code == 401

    dev.until(refused)
    assert not (dev.state / "secrets/leave/worker-oauth").exists()


def test_a_broken_manifest_is_reported_with_file_line_and_fix_and_others_are_served(dev: Dev) -> None:
    dev.start()
    dev.write("worker.yaml", WORKER.replace("scopes: [payroll.read]", "scops: [payroll.read]"))
    dev.until(lambda: "worker.yaml:" in dev.printed())
    assert re.search(r"worker\.yaml:6: .*scops.*did you mean scopes", dev.printed())
    assert dev.token().status_code == 200, "its last good version stays in force"
    (dev.manifests / "picture.yaml").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    dev.until(lambda: "picture.yaml:" in dev.printed())
    (dev.manifests / "picture.yaml").unlink()
    dev.write("worker.yaml", WORKER)
    dev.until(lambda: "every manifest is valid" in dev.printed())


def test_a_method_that_a_more_specific_pattern_hides_is_printed_with_the_correction(dev: Dev) -> None:
    dev.start()
    assert "is refused" not in dev.printed()
    read = '{name: read, methods: [GET], paths: ["/salaries/**"], authentication: Required}'
    write = '{name: write, methods: [PUT], paths: ["/salaries/*"], authentication: Required}'
    dev.write("payroll.yaml", PAYROLL.replace("spec:\n", f"spec:\n  http: {{rules: [{read}, {write}]}}\n", 1))
    dev.until(lambda: "ResourceServer payroll/payroll-api: GET /salaries/* is refused" in dev.printed())
    assert "add /salaries/* to the paths of rule read" in dev.printed()


def test_a_deleted_secret_is_recreated_and_the_old_value_still_works(dev: Dev) -> None:
    dev.start()
    basic = (dev.secret("client_id"), dev.secret("client_secret"))
    shutil.rmtree(dev.state / "secrets/leave/worker-oauth")
    dev.until(lambda: (dev.state / "secrets/leave/worker-oauth/client_secret").exists())
    assert dev.secret("client_secret") != basic[1]
    answer = httpx.post(f"{dev.url}/token", data={"grant_type": "client_credentials"}, auth=basic)
    assert answer.status_code == 200


def test_a_key_pair_is_made_and_works(dev: Dev) -> None:
    dev.write("worker.yaml", WORKER + "  authentication: {method: PrivateKeyJWT}\n")
    dev.start()
    folder = dev.state / "secrets/leave/worker-oauth"
    assert not (folder / "client_secret").exists()
    assert ClientCredentials(folder).token_sync().scopes == {"payroll.read"}
    dev.write("worker.yaml", WORKER)
    dev.until((folder / "client_secret").exists)
    assert dev.token().status_code == 200


AS_ACCOUNT = WORKER + "  authentication: {method: ServiceAccount, serviceAccount: {name: worker}}\n"


def test_a_token_of_dev_token_authenticates_its_service_account_alone(dev: Dev, tmp_path: Path) -> None:
    dev.write("worker.yaml", AS_ACCOUNT)
    dev.start()

    def granted(account: str) -> frozenset[str]:
        (tmp_path / "token").write_text(command("dev-token", account, "--state", dev.state).stdout.rstrip("\n"))
        secret = MountedSecret(dev.state / "secrets/leave/worker-oauth", service_account_token=tmp_path / "token")
        return ClientCredentials(secret).token_sync().scopes

    assert granted("leave/worker") == {"payroll.read"}
    for other in ("leave/another", "payroll/worker"):
        with pytest.raises(TokenError, match="invalid_client"):
            granted(other)


def test_a_token_of_another_state_is_refused(dev: Dev, tmp_path: Path) -> None:
    """Each STATE has its own cluster key."""
    dev.write("worker.yaml", AS_ACCOUNT)
    dev.start()
    dev.stop()
    stolen = command("dev-token", "leave/worker", "--state", dev.state).stdout.strip()
    shutil.rmtree(dev.state)
    dev.start()
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": stolen}
    answer = httpx.post(f"{dev.url}/token", data={**form, "client_id": "leave.worker"})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_dev_token_keeps_a_file_fresh(dev: Dev, tmp_path: Path) -> None:
    dev.write("worker.yaml", AS_ACCOUNT)
    dev.start()
    file = tmp_path / "token"
    watch: list[str | Path] = ["dev-token", "leave/worker", "--state", dev.state, "--duration", "2s", "--watch", file]
    with subprocess.Popen([SCOPEWRIGHT, *watch], stderr=subprocess.DEVNULL) as keeping:
        dev.until(file.exists)
        first = file.read_text()
        dev.until(lambda: file.read_text() != first)
        assert file.stat().st_mode & 0o777 == 0o600
        keeping.terminate()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_dev_serves_an_http_name_of_containers_if_it_is_allowed(dev: Dev) -> None:
    dev.listen_on, issuer = f"0.0.0.0:{dev.port}", f"http://issuer:{dev.port}"
    dev.options = ("--issuer-url", issuer, "--allow-http")
    dev.start(ready_at=issuer)
    assert dev.secret("issuer") == issuer
    assert dev.secret("token_endpoint") == f"{issuer}/token"
    basic = (dev.secret("client_id"), dev.secret("client_secret"))
    answer = httpx.post(f"{dev.url}/token", data={"grant_type": "client_credentials"}, auth=basic)
    assert jwt.decode(answer.json()["access_token"], options={"verify_signature": False})["iss"] == issuer
    separate: list[str | Path] = ["issuer", "--source", dev.state, "--listen", "127.0.0.1:0"]
    with subprocess.Popen([SCOPEWRIGHT, *separate], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline().strip() == f"issuer ready at {issuer}"
        process.terminate()


def test_a_separate_issuer_serves_the_same_state(dev: Dev, tmp_path: Path) -> None:
    """It reads the state alone: it reports neither the use of credentials nor its session store, and logs nothing."""
    dev.start()
    port = free_port()
    command: list[str | Path] = [SCOPEWRIGHT, "issuer", "--source", dev.state, "--listen", f"127.0.0.1:{port}"]
    command += ["--trusted-proxies", "127.0.0.0/8", "--sessions", tmp_path / "sessions.db"]
    through = [("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-For", "192.0.2.1, 127.0.0.2")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as issuer:
        assert issuer.stderr is not None
        assert issuer.stdout is not None
        assert issuer.stderr.readline().strip() == f"issuer ready at {dev.url}"
        basic = (dev.secret("client_id"), dev.secret("client_secret"))
        url = f"http://127.0.0.1:{port}/token"
        form = {"grant_type": "client_credentials"}
        assert httpx.post(url, data=form, auth=basic, headers=through).status_code == 200
        audit_line = json.loads(issuer.stdout.readline())
        assert (audit_line["client"], audit_line["peer"]) == ("leave.worker", "192.0.2.1")
        issuer.terminate()
        assert issuer.wait(15) == 0
        assert issuer.stderr.read() == ""


def test_an_issuer_with_workers_and_https_serves_the_same_state(dev: Dev, tmp_path: Path) -> None:
    dev.start()
    (tmp_path / "ca").mkdir()
    authority = Authority.at(tmp_path / "ca")
    certificate, key = authority.server()
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    port = free_port()
    command: list[str | Path] = [SCOPEWRIGHT, "issuer", "--source", dev.state, "--listen", f"127.0.0.1:{port}"]
    command += ["--workers", "2", "--replay", "per-process"]
    command += ["--tls-cert", tmp_path / "tls.crt", "--tls-key", tmp_path / "tls.key"]
    context = ssl.create_default_context(cadata=authority.pem.decode())
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as issuer:
        assert issuer.stderr is not None
        assert issuer.stdout is not None
        assert issuer.stderr.readline().strip() == f"issuer ready at {dev.url}"
        basic = (dev.secret("client_id"), dev.secret("client_secret"))
        for _ in range(8):
            form = {"grant_type": "client_credentials"}
            answer = httpx.post(f"https://127.0.0.1:{port}/token", data=form, auth=basic, verify=context)
            assert answer.status_code == 200
            assert json.loads(issuer.stdout.readline())["client"] == "leave.worker"
        issuer.terminate()
        assert issuer.wait(15) == 0


def test_a_failed_start_is_reported_in_one_line(dev: Dev, tmp_path: Path) -> None:
    dev.start()

    def refused(*arguments: object) -> str:
        command = [str(SCOPEWRIGHT), "dev", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 1, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        return done.stderr

    other = tmp_path / "other"
    occupied = refused(dev.manifests, "--state", other, "--listen", f"127.0.0.1:{dev.port}")
    assert "Address already in use; stop the process that uses it, or pass another --listen" in occupied
    assert "is not a directory; pass the one" in refused(tmp_path / "nothing", "--state", other)
    plain = refused(dev.manifests, "--state", other, "--listen", "127.0.0.1:0", "--issuer-url", "http://issuer:8080")
    assert "http://issuer:8080 is plain HTTP" in plain
    assert "add --allow-http" in plain
    assert "pass HOST:PORT" in refused(dev.manifests, "--state", other, "--listen", "8080")
    in_use = refused(dev.manifests, "--state", dev.state, "--listen", "127.0.0.1:0")
    assert "choose another --state" in in_use
    dev.stop()
    elsewhere = refused(dev.manifests, "--state", dev.state, "--listen", "127.0.0.1:0")
    assert f"belongs to the issuer {dev.url}" in elsewhere
