"""nginx and Envoy with the configurations of examples/gateway: the ways of a check that `gateway-latency` compares."""

import http.client
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import wrk
from bench.benchmark import BenchmarkError
from bench.gateway_servers import DecisionServer
from bench.gateway_setup import PATH
from tests.controlplane.processes import Child
from tests.gateway.proxies import ENVOY, ENVOY_JWT, HOST, NGINX, ProxyKind, write_configuration
from tests.ports import free_port

GATEWAY: Final = "gateway"
HOP: Final = "nginx-204"
PEER: Final = "oauth2-proxy"
_HEADERS: Final = (
    f"Host: {HOST}\r\n"
    "User-Agent: python-httpx/0.28.1\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to check requests. `server` is the name of the server that is asked; none for a check in the proxy, and
    for no check. `replace` is a text of the example and the one that is in its place.
    """

    name: str
    about: str
    kind: ProxyKind
    server: str | None = None
    replace: tuple[str, str] = ("", "")
    refuses: bool = True
    """Requests without a token."""

    @property
    def base(self) -> str:
        """The name of the way without a check through the same proxy."""
        return NGINX.name if self.kind is NGINX else ENVOY.name


_NGINX_ASKS: Final = "http://gateway/auth/nginx/payroll.hr.example"
_ENVOY_ASKS: Final = "path_prefix: /auth/envoy/payroll.hr.example"
_FILTER: Final = "- name: envoy.filters.http.ext_authz\n"
WAYS: Final = {
    way.name: way
    for way in (
        Way("nginx", "nginx, no check", NGINX, None, ("            auth_request /_gateway;\n", ""), refuses=False),
        Way("nginx-hop", "nginx, auth_request to return 204", NGINX, HOP, refuses=False),
        Way("nginx-gateway", "nginx, auth_request to the gateway", NGINX, GATEWAY),
        Way(
            "nginx-oauth2-proxy",
            "nginx, auth_request to oauth2-proxy",
            NGINX,
            PEER,
            (_NGINX_ASKS, "http://gateway/oauth2/auth"),
        ),
        Way("envoy", "Envoy, no check", ENVOY, None, (_FILTER, f"{_FILTER}{'disabled: true':>34}\n"), refuses=False),
        Way(
            "envoy-hop",
            "Envoy, ext_authz to return 200",
            ENVOY,
            HOP,
            (_ENVOY_ASKS, "path_prefix: /200"),
            refuses=False,
        ),
        Way("envoy-jwt", "Envoy, jwt_authn and RBAC", ENVOY_JWT),
        Way("envoy-gateway", "Envoy, ext_authz to the gateway", ENVOY, GATEWAY),
        # oauth2-proxy answers its own /oauth2/auth with 202, which Envoy takes for a refusal. Its upstream answers 200.
        Way("envoy-oauth2-proxy", "Envoy, ext_authz to oauth2-proxy", ENVOY, PEER, (_ENVOY_ASKS, 'path_prefix: ""')),
    )
}


@dataclass
class Proxied(DecisionServer):
    """The proxy of a way. `asked` is the server that it asks, if any."""

    asked: DecisionServer | None = None
    latency: list[dict[str, float]] = field(default_factory=list)
    rate: list[dict[str, float]] = field(default_factory=list)

    def requests(self, tokens: list[str]) -> list[bytes]:
        """One request to the service with each token."""
        head = f"GET {PATH} HTTP/1.1\r\n{_HEADERS}Authorization: Bearer "
        return [f"{head}{token}\r\n\r\n".encode() for token in tokens]

    async def measure(self, file: Path, seconds: float, connections: int) -> dict[str, float]:
        """The figures of one run. CPU time is that of the proxy and of the server that it asks, without the service."""
        before = self._cpu()
        load = await wrk.run_load(self.port, file, seconds, connections=connections)
        return {
            "per_second": round(load.per_second, 1),
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "cpu_us": round((self._cpu() - before) / load.requests * 1e6, 2),
        }

    def require_refusal(self) -> None:
        """Raise BenchmarkError if a request without a token is allowed: then nothing is checked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", PATH, headers={"Host": HOST})
            status = connection.getresponse().status
        finally:
            connection.close()
        if status not in (401, 403):
            raise BenchmarkError(f"{self.name}: a request without a token got {status}")

    def _cpu(self) -> float:
        return self.cpu() + (self.asked.cpu() if self.asked else 0)


def start_proxy(
    way: Way, ports: Mapping[str, int], workers: int, folder: Path, asked: DecisionServer | None
) -> Proxied:
    """Start the proxy of a way. `ports` has those of `service`, and of `issuer`."""
    port, log = free_port(), folder / f"{way.name}.log"
    second = "issuer" if way.kind is ENVOY_JWT else "gateway"
    # Without a check, the example's gateway is not asked: any port will do.
    others = {"service": ports["service"], second: ports["issuer"] if asked is None else asked.port, "proxy": port}
    own = folder / way.name
    if own.exists():
        raise BenchmarkError(f"{folder} has the files of an earlier run; choose another directory for --logs")
    configuration = write_configuration(way.kind, own, others, way.replace, workers)
    child = Child(way.kind.command(configuration, workers), log=log, cwd=own)
    return Proxied(way.name, way.about, port, child, log, asked=asked)
