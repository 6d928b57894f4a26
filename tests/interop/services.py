"""Services on the pages of docs/protect, as processes that trust an issuer of the test."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.interop.page_programs import command_of, files_of
from tests.ports import free_port

AUDIENCE: Final = "https://payroll-api.payroll.svc"
SCOPE: Final = "payroll.read"


@dataclass(frozen=True)
class Service:
    """A program of a page. `name` is that of its library."""

    name: str
    toolchain: str
    page: str
    main: str
    arguments: tuple[str, ...] = ()
    path: str = "/salaries"
    unavailable: int = 503
    """The status while the keys cannot be fetched."""

    @contextmanager
    def running(self, issuer: str, folder: Path) -> Iterator["Client"]:
        port = free_port()
        command = [*self._command(issuer, folder), *(part.format(port=port) for part in self.arguments)]
        variables = {"SCOPEWRIGHT_ISSUER": issuer, "SCOPEWRIGHT_AUDIENCE": AUDIENCE, "PORT": str(port)}
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=os.environ | variables, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            end = time.monotonic() + 120
            while not _is_open(port):
                assert process.poll() is None, log.read_text(errors="replace")
                assert time.monotonic() < end, log.read_text(errors="replace")
                time.sleep(0.05)
            yield Client(port, self.path)
        finally:
            process.kill()
            process.wait()

    def _command(self, issuer: str, folder: Path) -> list[str]:
        if self.toolchain != "python":
            return command_of(self.toolchain, self.page, self.main)
        return [sys.executable, "-m", "flask", "--app", str(_python_program(self.page, issuer, folder)), "run"]


def _python_program(page: str, issuer: str, folder: Path) -> Path:
    """The program of the page, with the issuer, audience, algorithm and scope of the test."""
    text = files_of(page, ".py")["service.py"].decode()
    for old, new in (
        ("http://127.0.0.1:8081", issuer),
        ("https://reports-api.reports.svc", AUDIENCE),
        ("RS256", "ES256"),
        ("read:data", SCOPE),
    ):
        assert old in text
        text = text.replace(old, new)
    program = folder / "service.py"
    program.write_text(text)
    return program


class Client:
    def __init__(self, port: int, path: str) -> None:
        self.port, self.path = port, path

    def send(self, token: str | None) -> tuple[int, str]:
        """The status and the challenge."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", self.path, headers={} if token is None else {"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            return response.status, response.headers.get("WWW-Authenticate", "")
        finally:
            connection.close()


def _is_open(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


SERVICES: Final = (
    Service("go-oidc", "go", "protect/go.md", "main"),
    Service("jose", "node", "protect/node.md", "service"),
    Service("nimbus", "java", "protect/java.md", "Service"),
    Service("spring", "spring", "protect/spring.md", "payroll.Service", ("--server.port={port}",), unavailable=500),
    Service("pyjwt", "python", "protect/pyjwt.md", "service.py", ("--port={port}",), "/data"),
)
