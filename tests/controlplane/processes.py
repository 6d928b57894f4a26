"""Child processes that end with this process, also if it is killed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .errors import ControlPlaneError

_TETHER = Path(__file__).with_name("tether.py")
# The kernel sends the signal when the *thread* that forked ends; this thread lives as long as the process.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="controlplane-spawner")


class Child:
    def __init__(
        self, command: list[str], *, log: Path, cwd: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = log.stem
        self._log = log
        self._process = _SPAWNER.submit(_spawn, command, log, cwd, environment or {}).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def failure(self, what: str) -> ControlPlaneError:
        lines = self._log.read_text(errors="replace").splitlines()[-30:]
        return ControlPlaneError(f"{self.name} {what}. The end of its log:\n" + "\n".join(lines))

    def check(self) -> None:
        if not self.alive():
            raise self.failure(f"ended with status {self._process.returncode}")

    def stop(self, grace: float = 10) -> None:
        if not self.alive():
            return
        self._process.terminate()
        try:
            self._process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def _spawn(command: list[str], log: Path, cwd: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    # tether.py sets the death signal and then executes the program; preexec_fn is not safe with threads.
    tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid())]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*tether, *command],
            cwd=cwd,
            # Proxies and KUBECONFIG of the user's environment must not be used.
            env={"PATH": os.defpath, "HOME": str(cwd), **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Its own session: Ctrl-C reaches only this process, which ends the children in order.
            start_new_session=True,
        )


def wait_until(condition: Callable[[], bool], *, seconds: float, children: list[Child], what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        for child in children:
            child.check()
        if time.monotonic() > deadline:
            raise children[-1].failure(f"did not become {what} within {seconds:.0f} s")
        time.sleep(0.03)
