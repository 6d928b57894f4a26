"""examples/compose: valid against the compose schema, and its services run as processes on loopback.

There is no container engine and no DNS here. Each process gets the command and the environment of its service; what
differs is the path of a mount, the port, and that `socket.getaddrinfo` resolves the names of services to 127.0.0.1.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import pytest
import yaml

from tests.go_module import go_module_file
from tests.ports import free_port

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples/compose"
FILE: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = FILE["services"]
SCHEMA: Final = (
    "github.com/compose-spec/compose-go/v2@v2.16.2",
    "h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=",
    "schema/compose-spec.json",
)
ENTRYPOINTS: Final = {"scopewright": [str(Path(sys.executable).with_name("scopewright"))], "hr": []}
"""By the target of Dockerfile."""
_PORT: Final = re.compile(r"--(?:listen|port)=(?:[\d.]+:)?(\d+)")
NAMES: Final = f"""\
import socket, sys
sys.modules["uvloop"] = None  # it resolves names by itself
names, resolve = {[*SERVICES, *(name.encode() for name in SERVICES)]}, socket.getaddrinfo
def getaddrinfo(host, *arguments, **options):
    return resolve("127.0.0.1" if host in names else host, *arguments, **options)
socket.getaddrinfo = getaddrinfo
"""


class Composed:
    """The services as processes. `state` is the volume of the same name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.state = folder / "state"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        inside = {name: _PORT.findall(" ".join(each["command"]))[0] for name, each in SERVICES.items()}
        self._ports = {name: (port, free_port()) for name, port in inside.items()}
        """In the container, and here."""
        names = folder / "names"
        names.mkdir()
        (names / "sitecustomize.py").write_text(NAMES)

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name][1]}"

    def start(self, name: str) -> None:
        service = SERVICES[name]
        command = [*ENTRYPOINTS[service["build"]["target"]], *(self._local(name, word) for word in service["command"])]
        command[0] = sys.executable if command[0] == "python3.11" else command[0]
        path = [str(self._folder / "names"), *sys.path] if name != "issuer" else sys.path
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, path))}
        environment |= {key: self._local(name, value) for key, value in service.get("environment", {}).items()}
        with (self._folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while not self.is_healthy(name):
            assert self._processes[name].poll() is None, self.log(name)
            assert time.monotonic() < end, self.log(name)
            time.sleep(0.1)

    def is_healthy(self, name: str) -> bool:
        program = self._local(name, SERVICES[name]["healthcheck"]["test"][-1])
        return subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def stop(self) -> None:
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            process.wait(20)

    def _local(self, name: str, text: str) -> str:
        """A value of the service, with the paths and ports of this machine."""
        for target, source in self._mounts(SERVICES[name]).items():
            text = re.sub(rf"{re.escape(target)}(?=/|\"|$)", str(source), text)
        inside, port = self._ports[name]
        text = re.sub(rf"(--listen=|--port=|127\.0\.0\.1:)(0\.0\.0\.0:)?{inside}\b", rf"\g<1>\g<2>{port}", text)
        for other, (there, local) in self._ports.items():
            text = text.replace(f"http://{other}:{there}", f"http://{other}:{local}")
        return text.replace("0.0.0.0", "127.0.0.1")

    def _mounts(self, service: Mapping[str, Any]) -> dict[str, Path]:
        mounts = {}
        for each in service.get("volumes", ()):
            below = each.get("volume", {}).get("subpath", "")
            source = self.state / below if each["type"] == "volume" else (FOLDER / each["source"]).resolve()
            mounts[each["target"]] = source
        return mounts


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """Started in the order of `depends_on`."""
    running = Composed(tmp_path_factory.mktemp("compose"))
    try:
        for name in sorted(SERVICES, key=lambda name: len(SERVICES[name].get("depends_on", {}))):
            running.start(name)
        yield running
    finally:
        running.stop()


def test_the_file_is_valid() -> None:
    schema = json.loads(go_module_file(*SCHEMA))
    assert [f"{each.instance_path}: {each.message}" for each in jsonschema_rs.iter_errors(schema, FILE)] == []
    wrong = {**FILE, "services": {"issuer": {**SERVICES["issuer"], "restrat": "always"}}}
    assert not jsonschema_rs.is_valid(schema, wrong)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined(name: str) -> None:
    """As the chart's Pods: not root, no capabilities, a root file system that is read-only, loopback ports."""
    service = SERVICES[name]
    assert service["user"] == "65532:65532"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert all(each.get("read_only") or (name, each["target"]) == ("issuer", "/state") for each in service["volumes"])


def test_only_the_issuer_mounts_the_whole_state() -> None:
    mounts = {
        name: [each for each in service["volumes"] if each["type"] == "volume"] for name, service in SERVICES.items()
    }
    assert mounts["payroll"] == []
    (secret,) = mounts["desk"]
    assert secret["volume"] == {"subpath": "secrets/staff/hr-desk-oauth"}


def test_a_call_with_a_token_succeeds(composed: Composed) -> None:
    answer = httpx.get(f"{composed.url('desk')}/salaries")
    assert (answer.status_code, answer.json()) == (200, {"caller": "staff.hr-desk", "salaries": {"7": 5200}})
    assert (composed.state / "secrets/staff/hr-desk-oauth/issuer").read_text().startswith("http://issuer:")


def test_a_call_without_a_token_is_refused(composed: Composed) -> None:
    answer = httpx.get(f"{composed.url('payroll')}/salaries")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_each_service_is_healthy(composed: Composed) -> None:
    assert all(composed.is_healthy(name) for name in SERVICES)


@pytest.mark.parametrize("name", ["payroll", "desk"])
def test_without_the_permission_plain_http_is_refused(name: str, composed: Composed, tmp_path: Path) -> None:
    """So the permission of the file is needed, and the names are really resolved."""
    service = SERVICES[name]
    environment = {key: composed._local(name, value) for key, value in service["environment"].items()}
    del environment["SCOPEWRIGHT_ALLOW_HTTP"]
    program = {
        "payroll": "import payroll",
        "desk": "from scopewright.client import ClientCredentials; ClientCredentials.from_env().token_sync()",
    }[name]
    path = os.pathsep.join([str(FOLDER), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": path, **environment}, capture_output=True, text=True,
        check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert {"payroll": "allow_http", "desk": "set SCOPEWRIGHT_ALLOW_HTTP"}[name] in done.stderr
