"""Two workers with a shared replay memory accept an assertion once."""

import json
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import httpx
import jwt

from scopewright.issuer.protocol.request import JWT_BEARER
from tests.harness.valkey_server import ValkeyServer
from tests.ports import free_port
from tests.running import Running

SCOPEWRIGHT = Path(sys.executable).with_name("scopewright")
MANIFESTS = """\
kind: ResourceServer
apiVersion: scopewright.dev/v1alpha1
metadata: {name: payroll-api, namespace: leave}
spec: {scopes: [{name: payroll.read}]}
---
kind: OAuthClient
apiVersion: scopewright.dev/v1alpha1
metadata: {name: worker, namespace: leave}
spec:
  authentication: {method: PrivateKeyJWT}
  access: [{resourceServer: payroll-api, scopes: [payroll.read]}]
"""


def test_an_assertion_works_once_across_workers(server: ValkeyServer, tmp_path: Path) -> None:
    with Running(tmp_path, {"leave.yaml": MANIFESTS}) as dev:
        port, metrics_port = free_port(), free_port()
        command: list[str | Path] = [
            SCOPEWRIGHT,
            "issuer",
            "--source",
            dev.state,
            "--listen",
            f"127.0.0.1:{port}",
            "--workers",
            "2",
        ]
        command += ["--replay", server.url, "--metrics-listen", f"127.0.0.1:{metrics_port}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as issuer:
            try:
                assert issuer.stderr is not None
                assert issuer.stderr.readline().strip() == f"issuer ready at {dev.url}"
                for _ in range(3):
                    assert sorted(answers(port, assertion(dev))) == [200] + [401] * 11
                metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
                assert 'scopewright_issuer_requests_total{handler="token",result="issued"} 3.0' in metrics
            finally:
                issuer.terminate()
                issuer.wait(30)


def answers(port: int, token: str) -> list[int]:
    """Send each request on its own connection, which the kernel gives to either worker."""
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": token}
    return [httpx.post(f"http://127.0.0.1:{port}/token", data=form).status_code for _ in range(12)]


def assertion(dev: Running) -> str:
    folder = dev.state / "secrets" / "leave" / "worker-oauth"
    key = json.loads((folder / "private_key.jwk").read_text())
    claims = {"iss": "leave.worker", "sub": "leave.worker", "aud": dev.url, "exp": time.time() + 60, "jti": uuid4().hex}
    return jwt.encode(claims, jwt.PyJWK(key), "ES256", headers={"kid": key["kid"]})
