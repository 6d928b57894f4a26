"""The API, its client and its tokens for the benchmarks of the gateway, declared to `scopewright dev`."""

import asyncio
import base64
import http.client
import json
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bench.benchmark import BenchmarkError
from bench.server import Server
from tests.controlplane.processes import Child
from tests.gateway.proxies import HOST
from tests.ports import free_port

ROOT: Final = Path(__file__).resolve().parents[1]
AUDIENCE: Final = f"https://{HOST}"
PATH: Final = "/salaries/7/address"
_MANIFESTS: Final = """\
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {name: payroll, namespace: payroll}
spec:
  audience: https://payroll.hr.example
  scopes: [{name: payroll.read}, {name: payroll.write}]
  tokens: {lifetime: 1h}
  http:
    rules:
      - {name: health, paths: [/healthz], authentication: None}
      - {name: read, methods: [GET], paths: ["/salaries/**"], scopes: [payroll.read]}
      - {name: write, methods: [PUT, PATCH], paths: ["/salaries/*"], scopes: [payroll.write]}
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: caller, namespace: payroll}
spec:
  access: [{resourceServer: payroll, scopes: [payroll.read]}]
"""
_CONFIG: Final = """\
audiences:
  - {prefix: "https://payroll.hr.example", namespaces: [payroll]}
"""


class GatewayIssuer:
    """`scopewright dev`, which reconciles the manifests and issues the tokens. It is idle while gateways are measured,
    except for their polls.
    """

    def __init__(self, folder: Path) -> None:
        manifests = folder / "manifests"
        if manifests.exists():
            raise BenchmarkError(f"{folder} has the files of an earlier run; choose another directory for --logs")
        manifests.mkdir()
        (manifests / "payroll.yaml").write_text(_MANIFESTS)
        config = folder / "config.yaml"
        config.write_text(_CONFIG)
        self._state = folder / "state"
        port, log = free_port(), folder / "dev.log"
        command = [sys.executable, "-m", "scopewright.cli", "dev", str(manifests), f"--state={self._state}"]
        command += [f"--config={config}", f"--listen=127.0.0.1:{port}"]
        self.server = Server("dev", "issuer", port, Child(command, log=log, cwd=ROOT), log)

    @property
    def source(self) -> list[str]:
        """The options of `scopewright gateway` for its state."""
        return [f"--source={self._state}"]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def tokens(self, count: int) -> list[str]:
        """New access tokens, each with a `jti` of its own."""
        return await asyncio.to_thread(self._tokens, count)

    def _tokens(self, count: int) -> list[str]:
        entries = self._state / "secrets" / "payroll" / "caller-oauth"
        user, password = ((entries / name).read_text() for name in ("client_id", "client_secret"))
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        form = f"grant_type=client_credentials&resource={quote(AUDIENCE, safe='')}"
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        tokens = []
        try:
            for _ in range(count):
                connection.request("POST", "/token", form, headers)
                answer = json.loads(connection.getresponse().read())
                if "access_token" not in answer:
                    raise BenchmarkError(f"no token was issued: {answer}")
                tokens.append(answer["access_token"])
        finally:
            connection.close()
        return tokens
