"""The processes of an installation: operator, issuer, replicas, and their logs."""

import itertools
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx

from scopewright.core.claims import LEASE_NAME
from tests.controlplane import Cluster
from tests.controlplane.processes import Child
from tests.ports import free_port

from .kube import Kube
from .waiting import until

SCOPEWRIGHT: Final = str(Path(sys.executable).with_name("scopewright"))
_PRIVATE: Final = re.compile(r"PRIVATE KEY|eyJ[A-Za-z0-9_-]{20,}")
"""A PEM or a JWT, which must be in no log."""


class ScopewrightProcess(Child):
    """`scopewright …`, with its output in a file. `code` is the package to run in place of the repository's."""

    def __init__(
        self,
        arguments: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        *,
        code: Path | None = None,
    ) -> None:
        variables = {**(environment or {}), **({"PYTHONPATH": str(code)} if code else {})}
        super().__init__([SCOPEWRIGHT, *arguments], log=log, cwd=log.parent, environment=variables)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def exit_code(self, seconds: float = 60) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self.failure(f"did not end within {seconds:.0f} s") from None


class InstallationProcesses:
    """`environment` is added to the environment of operator and issuer; `settings` is the configuration file."""

    def __init__(
        self,
        cluster: Cluster,
        kube: Kube,
        folder: Path,
        name: str,
        *,
        environment: Mapping[str, str] | None = None,
        settings: Mapping[str, Any],
    ) -> None:
        self.cluster = cluster
        self.kube = kube
        self.folder = folder
        self.name = name
        self.namespace = f"scopewright-{name}"
        self.environment = environment
        self.settings = {"resync": "1s", **settings}
        self.issuer_url = f"http://127.0.0.1:{free_port()}"
        self.issuer_metrics_url = f"http://127.0.0.1:{free_port()}"
        self.health_url = f"http://127.0.0.1:{free_port()}"
        self.operator: ScopewrightProcess | None = None
        self.issuer: ScopewrightProcess | None = None
        self.tracebacks_allowed = False
        """For tests in which kopf itself fails."""
        self._http = httpx.Client(timeout=30, trust_env=False)
        self._secrets: set[str] = set()
        self._serial = itertools.count()

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    def user(self, component: str) -> str:
        """The user name of the component `operator` or `issuer`."""
        return f"scopewright-{component}-{self.name}"

    def close(self) -> None:
        for process in (self.operator, self.issuer):
            if process is not None:
                process.kill()
        self._http.close()

    # The operator

    def operator_arguments(self) -> list[str]:
        return [
            "operator",
            *("--issuer-url", self.issuer_url, "--namespace", self.namespace),
            *("--config", str(self.config_file)),
        ]

    def start_operator(self) -> ScopewrightProcess:
        assert self.operator is None or not self.operator.alive()
        self.operator = self.start_operator_replica(self.health_url, "operator")
        return self.operator

    def start_operator_replica(self, health_url: str, name: str) -> ScopewrightProcess:
        """One more replica. The caller stops it."""
        arguments = [*self.operator_arguments(), "--listen", health_url.removeprefix("http://")]
        return self.run(arguments, self.user("operator"), name)

    def restart_operator_until_leader(self) -> None:
        """Wait until the operator leads; restart it each time it has ended, as the kubelet does."""

        def leads() -> bool:
            if not self.operator_is_running():
                self.start_operator()
            return self.is_leader()

        until(leads, lambda: self.logs(), seconds=90)

    def operator_is_running(self) -> bool:
        return self.operator is not None and self.operator.alive()

    def kill_operator(self) -> None:
        """SIGKILL. The Lease stays."""
        assert self.operator is not None
        self.operator.kill()

    def delete_lease(self) -> None:
        """So that the next operator does not wait for the Lease of a killed one to expire."""
        self.kube.delete("Lease", self.namespace, LEASE_NAME)

    def stop_operator(self) -> int:
        """SIGTERM. Returns the exit code."""
        assert self.operator is not None
        self.operator.terminate()
        return self.operator.exit_code()

    def is_leader(self, health_url: str = "") -> bool:
        return self.metric("scopewright_leader", health_url) == 1

    def metric(self, name: str, health_url: str = "") -> float | None:
        """The value of a metric without labels; None if there is none, or no answer."""
        try:
            text = self._http.get(f"{health_url or self.health_url}/metrics").text
        except httpx.HTTPError:
            return None
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else None

    def wait_two_resyncs(self) -> None:
        """Sleep for two resyncs. A resync without a finding leaves no trace that could be waited for."""
        time.sleep(2 * float(str(self.settings["resync"]).removesuffix("s")) + 0.5)

    # The issuer

    def start_issuer(self, *more: str) -> ScopewrightProcess:
        arguments = [
            "issuer",
            *("--namespace", self.namespace),
            *("--listen", self.issuer_url.removeprefix("http://")),
            *("--metrics-listen", self.issuer_metrics_url.removeprefix("http://")),
            *("--usage-every", "0.5"),
            *more,
        ]
        # A ServiceAccount has this group, which may read the keys of the cluster's ServiceAccount tokens.
        self.issuer = self.run(arguments, self.user("issuer"), "issuer", "system:serviceaccounts")
        return self.issuer

    def wait_until_ready_and_leader(self) -> None:
        def ready() -> bool:
            for process in (self.operator, self.issuer):
                assert process is not None
                process.check()
            return self.is_ready(self.health_url) and self.is_ready(self.issuer_url)

        until(ready, lambda: self.logs())
        until(self.is_leader, lambda: self.logs())

    def readyz(self) -> str:
        """The operator's answer at /readyz; "" if there is none."""
        try:
            return self._http.get(f"{self.health_url}/readyz").text
        except httpx.HTTPError:
            return ""

    def is_ready(self, url: str, path: str = "/readyz") -> bool:
        try:
            return self._http.get(f"{url}{path}").status_code == 200
        except httpx.HTTPError:
            return False

    # Logs

    def run(self, arguments: list[str], user: str, name: str, *groups: str) -> ScopewrightProcess:
        kubeconfig = self.cluster.kubeconfig_for(user, *groups)
        log = self.folder / f"{name}-{next(self._serial):03}.log"
        return ScopewrightProcess([*arguments, "--kubeconfig", str(kubeconfig)], log, self.environment)

    def log(self, name: str = "operator") -> str:
        return "".join(log.read_text(errors="replace") for log in sorted(self.folder.glob(f"{name}*.log")))

    def logs(self, lines: int = 40) -> str:
        """The last lines of each log."""
        return "\n".join(
            f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
            for log in sorted(self.folder.glob("*.log"))
        )

    def check_logs_for_secrets(self) -> None:
        """No log contains a PEM, a JWT, a client secret that the test has read, or a traceback."""
        for log in self.folder.glob("*.log"):
            text = log.read_text(errors="replace")
            assert not _PRIVATE.search(text), f"{log.name} contains a private key or a token"
            assert not any(secret in text for secret in self._secrets), f"{log.name} contains a client secret"
            if not self.tracebacks_allowed:
                assert "Traceback (most recent call last)" not in text, f"{log.name}: {traceback_in(text)}"


def traceback_in(log: str) -> str:
    """The first traceback, with what was logged before it, and up to its exception."""
    start = log.index("Traceback (most recent call last)")
    first, *lines = log[start:].splitlines()
    length = next((at for at, line in enumerate(lines, start=1) if line[:1].strip()), len(lines))
    return "\n".join([log[max(0, start - 300) : start] + first, *lines[:length][-40:]])
