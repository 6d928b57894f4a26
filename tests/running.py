"""`scopewright dev` as a process: a directory of manifests, a port on loopback, a log to be read."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import httpx

from tests.ports import free_port

_HR: Final = Path(__file__).resolve().parents[1] / "examples/hr/manifests"
_SCOPEWRIGHT: Final = Path(sys.executable).with_name("scopewright")
_TROUBLE: Final = ("Traceback", "ERROR", "request failed")


class Running:
    """A context manager. Inside, the issuer answers at `url`."""

    def __init__(
        self,
        folder: Path,
        manifests: Mapping[str, str],
        config: str = "{}",
        program: Sequence[str | Path] = (_SCOPEWRIGHT,),
        options: Sequence[str] = (),
    ) -> None:
        """`manifests` is YAML by file name, `config` the configuration file, `options` further ones of `dev`."""
        self._program, self._options = program, options
        self._manifests, self.state, self._log = folder / "manifests", folder / "state", folder / "log"
        self._config = folder / "config.yaml"
        self._config.write_text(config)
        self._manifests.mkdir()
        for name, text in manifests.items():
            self.write_manifest(name, text)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = [*self._program, "dev", self._manifests, "--state", self.state]
        command += ["--listen", f"127.0.0.1:{self.port}", "--config", self._config, *self._options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 30
        while f"issuer ready at {self.url}" not in self.printed():
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < end, self.printed()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def write_manifest(self, name: str, text: str) -> None:
        """Write a file of the directory, which a running process follows."""
        replacement = self._manifests.parent / f"new-{name}"
        replacement.write_text(text)
        replacement.rename(self._manifests / name)

    def printed(self) -> str:
        return self._log.read_text(errors="replace")

    def error_lines(self) -> list[str]:
        """Lines of the log with an exception or error."""
        return [line for line in self.printed().splitlines() if any(word in line for word in _TROUBLE)]

    def alive(self) -> bool:
        return self._process.poll() is None

    def resident(self) -> int:
        """Memory in use, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))

    def secret(self, namespace: str, name: str) -> tuple[str, str]:
        """The client's id and secret, as its Pod would mount them."""
        folder = self.secret_folder(namespace, name)
        return (folder / "client_id").read_text(), (folder / "client_secret").read_text()

    def secret_folder(self, namespace: str, name: str) -> Path:
        """The files of the client's Secret, as its Pod would mount them."""
        return self.state / "secrets" / namespace / f"{name}-oauth"

    def metadata(self) -> dict[str, object]:
        answer = httpx.get(f"{self.url}/.well-known/oauth-authorization-server")
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]


def hr_example(folder: Path) -> Running:
    """`scopewright dev examples/hr/manifests`."""
    return Running(folder, {file.name: file.read_text() for file in _HR.glob("*.yaml")})
