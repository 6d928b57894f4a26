"""The four services, as processes on servers that people run them on, and what they recorded."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.gateway.listening import ListeningProcess
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


class Service(ListeningProcess):
    """One service. `routed` has what it recorded."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self._records = folder / f"{name}.records"
        self._records.touch()
        self._read_to = 0
        port, (server, *options) = free_port(), SERVERS[name]
        address = ("--bind", f"127.0.0.1:{port}") if server == "gunicorn" else ("--port", str(port))
        command = [sys.executable, "-m", server, *options, *address, f"tests.gateway.services.{name}_service:app"]
        python = os.pathsep.join([str(_ROOT / "operator"), str(_ROOT)])
        environment = {**os.environ, "GATEWAY_TEST_RECORDS": str(self._records), "PYTHONPATH": python}
        super().__init__(command, port, _ROOT, folder / f"{name}.log", environment)

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
