"""The API, its client and its tokens for the benchmarks of the gateway, declared to `scopewright dev`."""

import asyncio
import base64
import http.client
import json
import sys
from collections.abc import Mapping
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
API: Final = """\
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
"""
"""Of the hostname of examples/gateway."""
AUDIENCES: Final = """\
audiences:
  - {prefix: "https://payroll.hr.example", namespaces: [payroll]}
"""
"""The configuration file. `API` needs it."""


def oauth_client(name: str) -> str:
    """The manifest of a client that may read."""
    return f"""\
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {{name: {name}, namespace: payroll}}
spec:
  access: [{{resourceServer: payroll, scopes: [payroll.read]}}]
"""


def start_dev(folder: Path, manifests: Mapping[str, str], config: str, *options: str) -> Server:
    """Start `scopewright dev` with its state in the folder `state`. `manifests` is YAML by file name."""
    directory = folder / "manifests"
    if directory.exists():
        raise BenchmarkError(f"{folder} has the files of an earlier run; choose another directory for --logs")
    directory.mkdir()
    for name, text in manifests.items():
        (directory / name).write_text(text)
    (folder / "config.yaml").write_text(config)
    port, log = free_port(), folder / "dev.log"
    command = [sys.executable, "-m", "scopewright.cli", "dev", str(directory), f"--state={folder / 'state'}"]
    command += [f"--config={folder / 'config.yaml'}", f"--listen=127.0.0.1:{port}", *options]
    return Server("dev", "issuer", port, Child(command, log=log, cwd=ROOT), log)


class GatewayIssuer:
    """`scopewright dev`, which reconciles the manifests and issues the tokens. It is idle while gateways are measured,
    except for their polls.
    """

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.server = start_dev(folder, {"payroll.yaml": API, "caller.yaml": oauth_client("caller")}, AUDIENCES)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    async def tokens(self, count: int) -> list[str]:
        """New access tokens, each with a `jti` of its own."""
        return await asyncio.to_thread(self._tokens, count)

    def _tokens(self, count: int) -> list[str]:
        entries = self.state / "secrets" / "payroll" / "caller-oauth"
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
