"""A new issuer process with the chart's settings, and its memory."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import httpx

from tests.fuzz.target import Target
from tests.ports import free_port

_SCOPEWRIGHT: Final = Path(sys.executable).with_name("scopewright")
MIB: Final = 1024 * 1024
CHART_LIMIT: Final = 384 * MIB
"""resources.limits.memory of the issuer."""


class Issuer:
    """A context manager. Inside it, the issuer serves one client, from records that `scopewright dev` wrote."""

    def __init__(self, folder: Path, tls: tuple[Path, Path] | None = None) -> None:
        target = Target.of(folder)
        with target.running as running:
            self.client = target.worker
            self.port = running.port
        self._log = folder / "issuer.log"
        self._metrics_port = free_port()
        self._command: list[str | Path] = [_SCOPEWRIGHT, "issuer", "--source", target.running.state]
        self._command += ["--listen", f"0.0.0.0:{self.port}", "--metrics-listen", f"127.0.0.1:{self._metrics_port}"]
        if tls:
            self._command += ["--tls-cert", tls[0], "--tls-key", tls[1]]

    def __enter__(self) -> "Issuer":
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while "issuer ready" not in self.log():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def resident(self) -> int:
        """Resident memory, in bytes."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss: +(\d+) kB", text, re.MULTILINE)
        assert found
        return int(found[1]) * 1024

    def metrics(self) -> dict[str, float]:
        """Value of each Prometheus sample, by name with labels."""
        answer = httpx.get(f"http://127.0.0.1:{self._metrics_port}/metrics", timeout=20)
        lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
