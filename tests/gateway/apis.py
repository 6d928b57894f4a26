"""The four services, as processes on servers that people run them on, and what they recorded."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.gateway.waiting import accepts_connections
from tests.ports import free_port

_ROOT: Final = Path(__file__).resolve().parents[2]
_UVICORN: Final = ("uvicorn", "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "75")
_GUNICORN: Final = (
    "gunicorn",
    "--worker-class",
    "gthread",
    "--threads",
    "8",
    "--keep-alive",
    "75",
    "--log-level",
    "warning",
)
SERVERS: Final = {
    "fastapi": (*_UVICORN, "--http", "httptools"),
    "starlette": (*_UVICORN, "--http", "h11"),
    "flask": _GUNICORN,
    "django": _GUNICORN,
}


@dataclass(frozen=True)
class Routed:
    """A request as the service understood it. `path` is decoded."""

    service: str
    method: str
    path: str
    route: str
    headers: tuple[tuple[str, str], ...]

    def values(self, name: str) -> list[str]:
        return [text for each, text in self.headers if each == name]


class Service:
    """A context manager. Inside, the service listens at `port` on loopback."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.port = free_port()
        self._records, self._log = folder / f"{name}.records", folder / f"{name}.log"
        self._records.touch()
        self._read_to = 0

    def __enter__(self) -> Self:
        server, *options = SERVERS[self.name]
        address = ("--bind", f"127.0.0.1:{self.port}") if server == "gunicorn" else ("--port", str(self.port))
        app = f"tests.gateway.services.{self.name}_service:app"
        python = os.pathsep.join([str(_ROOT / "operator"), str(_ROOT)])
        environment = {**os.environ, "GATEWAY_TEST_RECORDS": str(self._records), "PYTHONPATH": python}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", server, *options, *address, app],
                cwd=_ROOT,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        end = time.monotonic() + 60
        while not accepts_connections(self.port):
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < end, self.printed()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def routed(self) -> list[Routed]:
        """The requests that the service saw since the last call. A request is recorded before it is answered."""
        with self._records.open("rb") as file:
            file.seek(self._read_to)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        lines = map(json.loads, whole.splitlines())
        return [
            Routed(self.name, each["method"], each["path"], each["route"], tuple(map(tuple, each["headers"])))
            for each in lines
        ]
