"""The proxies of examples/gateway, as processes that run their example with other ports."""

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.debian import program
from tests.gateway.listening import ListeningProcess
from tests.ports import free_port

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples/gateway"
HOST: Final = "payroll.hr.example"

_EXAMPLE_PORTS: Final = {"proxy": "8000", "service": "8001", "gateway": "8083", "issuer": "8080"}


@dataclass(frozen=True)
class ProxyKind:
    """`example` is the configuration below examples/gateway."""

    name: str
    example: str
    profile: str

    def command(self, configuration: Path, workers: int = 1) -> list[str]:
        """`workers` counts for Envoy; nginx has it in its configuration."""
        if self.profile == "nginx":
            return [program("nginx", package="nginx-light"), "-e", "stderr", "-c", str(configuration)]
        if self.profile == "haproxy":
            return [program("haproxy", package="haproxy"), "-f", configuration.name]
        if self.profile == "caddy":
            caddy = program("caddy", package="caddy")
            return [caddy, "run", "--adapter", "caddyfile", "--config", str(configuration)]
        envoy = str(Path(sys.executable).with_name("envoy"))
        options = ["--concurrency", str(workers), "--log-level", "warning", "--use-dynamic-base-id"]
        return [envoy, "--config-path", str(configuration), *options]


NGINX: Final = ProxyKind("nginx", "nginx/nginx.conf", "nginx")
ENVOY: Final = ProxyKind("envoy", "envoy/envoy.yaml", "envoy")
ENVOY_JWT: Final = ProxyKind("envoy-jwt", "envoy-jwt/envoy.yaml", "envoy")
HAPROXY: Final = ProxyKind("haproxy", "haproxy/haproxy.cfg", "haproxy")
CADDY: Final = ProxyKind("caddy", "caddy/Caddyfile", "caddy")
WITH_GATEWAY: Final = (NGINX, ENVOY, HAPROXY, CADDY)
OVER_HTTP2: Final = (ENVOY,)
"""Their examples accept HTTP/2 without TLS. That of HAProxy does not: before 3.1 it passes on trailers."""


class Proxy(ListeningProcess):
    """A proxy that runs its example."""

    def __init__(
        self, kind: ProxyKind, folder: Path, ports: Mapping[str, int], replace: tuple[str, str] = ("", "")
    ) -> None:
        """`ports` has those of `service`, and of `gateway` or `issuer`. `replace`: a mistake, in place of a text of the
        example.
        """
        self.kind, port = kind, free_port()
        configuration = write_configuration(kind, folder, {**ports, "proxy": port}, replace)
        super().__init__(kind.command(configuration), port, folder, folder / "log")


def write_configuration(
    kind: ProxyKind, folder: Path, ports: Mapping[str, int], replace: tuple[str, str] = ("", ""), workers: int = 1
) -> Path:
    """Write the example into a new folder, with other ports and another text; returns its file."""
    folder.mkdir()
    example = EXAMPLES / kind.example
    for file in example.parent.iterdir():
        shutil.copy(file, folder)
    text = example.read_text()
    assert replace[0] in text, f"the example has no {replace[0]!r}"
    text = with_ports(text.replace(*replace), ports)
    configuration = folder / example.name
    configuration.write_text(_with_folder(text, folder, workers) if kind is NGINX else text)
    return configuration


def with_ports(text: str, ports: Mapping[str, int]) -> str:
    """An example with other ports. An example that lacks one of them is an error."""
    for name, port in ports.items():
        text, count = re.subn(rf"\b{_EXAMPLE_PORTS[name]}\b", f"<{port}>", text)
        assert count, f"the example has no port {_EXAMPLE_PORTS[name]} for the {name}"
    return re.sub(r"<(\d+)>", r"\1", text)


def _with_folder(text: str, folder: Path, workers: int) -> str:
    """nginx otherwise writes below /var, and runs as a daemon."""
    kept = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {each}_temp_path {folder}/{each};\n" for each in kept)
    user = "user root;\n" if os.geteuid() == 0 else ""
    process = f"worker_processes {workers};\n{user}daemon off;\npid {folder}/pid;\n"
    text = text.replace("worker_processes auto;", process)
    return text.replace("http {\n", f"http {{\n{paths}", 1)
