"""The servers that decide: the gateway, oauth2-proxy and nginx that allows every request; and a service."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import wrk
from bench.benchmark import BenchmarkError
from bench.gateway_setup import AUDIENCE, PATH, ROOT, GatewayIssuer
from bench.machine import peak_mb
from bench.server import IMPORTS, START_TIMEOUT_SECONDS, Server
from bench.timeouts import time_limit
from tests.controlplane.processes import Child
from tests.debian import program
from tests.gateway.proxies import HOST
from tests.interop.users.programs import oauth2_proxy
from tests.ports import free_port

OAUTH2_PROXY: Final = "oauth2-proxy"
_HEADERS: Final = (
    "Host: auth.example.org\r\n"
    "User-Agent: python-httpx/0.28.1\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "X-Request-Id: 7c1f5c1a-5e0e-4f5c-9a55-0f7b6d3c9f11\r\n"
)
"""Headers that a proxy passes on with a request for a decision, beside those of the profile."""
_BODY: Final = '{"employee": 7, "street": "Lindenallee 12", "city": "Wien"}'
_NGINX: Final = """\
worker_processes {workers};
daemon off;
pid {folder}/{name}.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  default_type application/json;
  server {{ listen 127.0.0.1:{port}; {locations} }}
}}
"""


@dataclass
class DecisionServer(Server):
    """A server that decides about requests at `path`. `runs` has the figures of each run, by the load."""

    path: str = "/"
    reads_tokens: bool = True
    """If not, new tokens are no load of their own."""
    runs: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def requests(self, tokens: list[str]) -> list[bytes]:
        """One request for a decision with each token, as nginx sends it with the profile `nginx`."""
        original = f"X-Original-Method: GET\r\nX-Original-URI: {PATH}\r\n"
        head = f"GET {self.path} HTTP/1.1\r\n{_HEADERS}{original}Authorization: Bearer "
        return [f"{head}{token}\r\n\r\n".encode() for token in tokens]

    async def run_load(self, name: str, file: Path, seconds: float, *, once: bool) -> None:
        """Send the requests of the file with wrk; each of them once, if they are of new tokens."""
        before = self.cpu()
        load = await wrk.run_load(self.port, file, seconds, once=once)
        if load.exhausted:
            raise BenchmarkError(f"{self.name}: the new tokens ran out; pass more with --new-tokens")
        self.runs.setdefault(name, []).append(
            {
                "per_second": round(load.per_second, 1),
                "p50_ms": load.p50_ms,
                "p99_ms": load.p99_ms,
                "cpu_us": round((self.cpu() - before) / load.requests * 1e6, 2),
            }
        )

    async def wait_until_ready(self) -> None:
        """Wait until it accepts connections: not every server logs that it is ready."""
        async with time_limit(START_TIMEOUT_SECONDS, f"{self.name} to listen"):
            while True:
                self.check()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return

    def peak_mb(self) -> float:
        """Peak memory of the largest worker, in MB."""
        return max(peak_mb(pid) for pid in self.workers)


def start_gateway(
    source: Sequence[str], workers: int, folder: Path, *, key_fetch_seconds: int | None = None
) -> DecisionServer:
    """Start `scopewright gateway`. `source` is the options that say where its records are.

    `key_fetch_seconds` is the shortest time between two fetches of keys, if it is not that of production.
    """
    port, log = free_port(), folder / "gateway.log"
    program = ["bench.gateway_process", str(key_fetch_seconds)] if key_fetch_seconds else ["scopewright.cli"]
    command = [sys.executable, "-m", *program, "gateway", *source, "--profile=nginx"]
    command += ["--profile=envoy", f"--listen=127.0.0.1:{port}", f"--workers={workers}", "--replay=per-process"]
    child = Child(command, log=log, cwd=ROOT, environment=IMPORTS)
    return DecisionServer("gateway", "scopewright gateway", port, child, log, f"/auth/nginx/{HOST}")


def start_oauth2_proxy(issuer: GatewayIssuer, workers: int, folder: Path) -> DecisionServer:
    """Start the peer: it verifies access tokens as Bearer, and asks for no login. It has no rules."""
    port, log = free_port(), folder / "oauth2-proxy.log"
    command = [
        str(oauth2_proxy()),
        "--provider=oidc",
        "--skip-oidc-discovery",
        f"--oidc-issuer-url={issuer.url}",
        f"--oidc-jwks-url={issuer.url}/jwks.json",
        f"--login-url={issuer.url}/authorize",
        f"--redeem-url={issuer.url}/token",
        f"--oidc-extra-audience={AUDIENCE}",
        "--oidc-enabled-signing-alg=ES256",
        "--oidc-email-claim=sub",
        "--skip-jwt-bearer-tokens",
        "--client-id=unused",
        "--client-secret=unused",
        "--cookie-secret=0123456789abcdef0123456789abcdef",
        "--email-domain=*",
        "--upstream=static://200",
        "--request-logging=false",
        "--auth-logging=false",
        f"--http-address=127.0.0.1:{port}",
        "--redirect-url=http://127.0.0.1/oauth2/callback",
    ]
    child = Child(command, log=log, cwd=folder, environment={"GOMAXPROCS": str(workers)})
    return DecisionServer(OAUTH2_PROXY, OAUTH2_PROXY, port, child, log, "/oauth2/auth")


def start_nginx_204(workers: int, folder: Path) -> DecisionServer:
    """Start nginx that answers every request with 204: what an `auth_request` costs without a decision.

    Below /200 it answers 200: Envoy takes no other status for a permission.
    """
    locations = "location / { return 204; } location /200 { return 200; }"
    return _start_nginx("nginx-204", "nginx, return 204", workers, folder, locations)


def start_service(folder: Path) -> DecisionServer:
    """Start nginx that answers every request with a small document: the service behind a proxy."""
    return _start_nginx("service", "service", 1, folder, f"location / {{ return 200 '{_BODY}'; }}")


def _start_nginx(name: str, about: str, workers: int, folder: Path, locations: str) -> DecisionServer:
    port, log = free_port(), folder / f"{name}.log"
    configuration = folder / f"{name}.conf"
    text = _NGINX.format(name=name, workers=workers, folder=folder, port=port, locations=locations)
    configuration.write_text(text)
    command = [program("nginx", "/usr/sbin/nginx", package="nginx-light"), "-c", str(configuration)]
    return DecisionServer(name, about, port, Child(command, log=log, cwd=folder), log, reads_tokens=False)


def require_different(tokens: list[str]) -> list[str]:
    """Raise BenchmarkError if a token occurs twice: one of the two would be a token seen before."""
    if len(set(tokens)) < len(tokens):
        raise BenchmarkError("the issuer has issued one token twice")
    return tokens
