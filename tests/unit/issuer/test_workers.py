"""Several processes on one port: real ones, started as a user would, and killed."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.unit.issuer.world import ISSUER, SECRET

PROGRAM = """
import contextlib, sys
from pathlib import Path
from scopewright.cli.settings import reserve, set_up_logging
from scopewright.core.failures import Rejected
from scopewright.issuer import Worker, run, run_workers
from tests.unit.issuer.world import NAMESPACE, World

world = World()
world.furnish()

@contextlib.asynccontextmanager
async def open_store():
    if "rejected" in sys.argv:
        raise Rejected("NoState", "there is no STATE")
    yield world.store

def work(worker):
    run(open_store, namespace=NAMESPACE, worker=worker, snapshot=Path(sys.argv[1]))

set_up_logging("text", "info")
reserved = reserve("127.0.0.1:0")
print(reserved.getsockname()[1], flush=True)
run_workers(2, work, reserved, lambda url: print(url, flush=True))
print("ended", flush=True)
"""


class Issuer:
    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log, self.snapshot = folder / "log", folder / "snapshot"
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", PROGRAM, str(self.snapshot), *arguments]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path.cwd())
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def token(self) -> int:
        """On a connection of its own."""
        form = {"grant_type": "client_credentials"}
        return httpx.post(f"{self.url}/token", data=form, auth=("leave.leave-worker", SECRET)).status_code

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.*)$", httpx.get(f"{self.url}/metrics").text, re.MULTILINE)
        assert found
        return float(found[1])


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    running = Issuer(tmp_path)
    try:
        yield running
    finally:
        for pid in (running.process.pid, *(running.workers() if running.process.poll() is None else ())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.wait(10)
        assert running.process.stdout is not None
        running.process.stdout.close()


def test_a_killed_worker_comes_back_and_meanwhile_the_other_serves(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    before = issuer.workers()
    assert len(before) == 2
    assert {issuer.token() for _ in range(10)} == {200}
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in issuer.workers())
    assert {issuer.token() for _ in range(10)} == {200}
    until(lambda: len(issuer.workers()) == 2)
    assert {issuer.token() for _ in range(20)} == {200}
    until(lambda: issuer.metric("scopewright_issuer_ready_workers") == 2)
    assert issuer.metric("scopewright_issuer_workers") == 2
    assert f"(process {killed}) was ended by SIGKILL; it is started again in 0.1 s" in issuer.log.read_text()
    until(lambda: issuer.metric('scopewright_issuer_requests_total{endpoint="token",result="issued"}') == 40, seconds=5)


def test_sigterm_ends_the_workers_gently_and_then_the_parent(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    workers = issuer.workers()
    with httpx.Client(base_url=issuer.url) as kept:
        assert kept.get("/healthz").status_code == 200
        issuer.process.terminate()
        assert issuer.line() == "ended"
    assert issuer.process.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert issuer.snapshot.stat().st_mode & 0o777 == 0o600


def test_without_a_parent_the_workers_end(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    workers = issuer.workers()
    issuer.process.kill()
    issuer.process.wait(10)
    until(lambda: not any(_runs(pid) for pid in workers))


def _runs(pid: int) -> bool:
    """A child that nobody waits for stays as a zombie where nobody adopts it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_only_the_user_can_put_right_ends_it_all_with_one_message(tmp_path: Path) -> None:
    failing = Issuer(tmp_path, "rejected")
    _, _ = failing.process.communicate(timeout=20)
    assert failing.process.returncode == 1
    assert "there is no STATE" in failing.log.read_text()
    assert "Traceback" not in failing.log.read_text()
