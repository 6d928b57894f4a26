"""Several worker processes on one port, started as the command starts them."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.harness.samples import ISSUER, SECRET
from tests.harness.waiting import poll

PROGRAM = """
import contextlib, sys
from pathlib import Path
from scopewright.cli.settings import reserve, set_up_logging
from scopewright.core.failures import Rejected
from scopewright.issuer import IssuerSettings, run
from scopewright.issuer.observability.metrics import shared_counters
from scopewright.serving.workers import run_workers
from tests.harness.issuer import IssuerHarness
from tests.harness.samples import NAMESPACE

harness = IssuerHarness()
harness.install_defaults()

@contextlib.asynccontextmanager
async def open_store():
    if "rejected" in sys.argv:
        raise Rejected("NoState", "there is no STATE")
    yield harness.store

def work(worker):
    run(open_store, IssuerSettings(NAMESPACE, snapshot=Path(sys.argv[1])), worker)

set_up_logging("text", "info")
reserved, observed = reserve("127.0.0.1:0"), reserve("127.0.0.1:0")
print(reserved.getsockname()[1], observed.getsockname()[1], flush=True)
hung_after = 4.0 if "hanging" in sys.argv else 600.0
def on_ready(url):
    print(url, flush=True)

run_workers(shared_counters(2), work, reserved, on_ready, observed=observed, hung_after=hung_after)
print("ended", flush=True)
"""


class Issuer:
    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log, self.snapshot = folder / "log", folder / "snapshot"
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", PROGRAM, str(self.snapshot), *arguments]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=Path.cwd())
        self.port, self.metrics_port = map(int, self.line().split())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def workers(self) -> set[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return {int(pid) for pid in children.split()}

    def token(self) -> int:
        """Status of a token request on a new connection."""
        form = {"grant_type": "client_credentials"}
        return httpx.post(f"{self.url}/token", data=form, auth=("leave.leave-worker", SECRET)).status_code

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def metrics(self) -> str:
        answer = httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics")
        assert answer.status_code == 200
        return answer.text

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (.*)$", self.metrics(), re.MULTILINE)
        assert found
        return float(found[1])


@contextlib.contextmanager
def running_issuer(folder: Path, *arguments: str) -> Iterator[Issuer]:
    running = Issuer(folder, *arguments)
    try:
        yield running
    finally:
        for pid in (running.process.pid, *(running.workers() if running.process.poll() is None else ())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.process.wait(10)
        assert running.process.stdout is not None
        running.process.stdout.close()


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with running_issuer(tmp_path) as running:
        yield running


def test_killed_worker_is_restarted_while_the_other_serves(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    before = issuer.workers()
    assert len(before) == 2
    assert {issuer.token() for _ in range(10)} == {200}
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    poll(lambda: killed not in issuer.workers())
    assert {issuer.token() for _ in range(10)} == {200}
    poll(lambda: len(issuer.workers()) == 2)
    assert {issuer.token() for _ in range(20)} == {200}
    poll(lambda: issuer.metric("scopewright_issuer_ready_workers") == 2)
    assert issuer.metric("scopewright_issuer_workers") == 2
    assert f"(process {killed}) was killed by SIGKILL, restarting in 0.1 s" in issuer.log.read_text()
    poll(lambda: issuer.metric('scopewright_issuer_requests_total{handler="token",result="issued"}') == 40, seconds=5)


def test_metrics_have_a_separate_port_and_sum_over_all_workers(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    assert httpx.get(f"{issuer.url}/metrics").status_code == 404
    assert {issuer.token() for _ in range(20)} == {200}
    for _ in range(10):
        assert issuer.metric('scopewright_issuer_requests_total{handler="token",result="issued"}') == 20
    private = f"http://127.0.0.1:{issuer.metrics_port}"
    assert [httpx.get(private + path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert httpx.post(f"{private}/token", data={"grant_type": "client_credentials"}).status_code == 404


def test_hung_worker_is_killed_and_replaced(tmp_path: Path) -> None:
    """SIGSTOP: the process neither ends nor runs, and connections that the kernel gives it are lost."""
    with running_issuer(tmp_path, "hanging") as issuer:
        assert issuer.line() == ISSUER
        hung = min(issuer.workers())
        os.kill(hung, signal.SIGSTOP)
        poll(lambda: hung not in issuer.workers(), seconds=60)
        poll(lambda: len(issuer.workers()) == 2)
        assert f"(process {hung}): no heartbeat for" in issuer.log.read_text()
        assert f"(process {hung}) was killed by SIGKILL" in issuer.log.read_text()
        assert {issuer.token() for _ in range(10)} == {200}


def test_sigterm_stops_the_workers_gracefully_and_then_the_parent(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    workers = issuer.workers()
    with httpx.Client(base_url=issuer.url) as kept:
        assert kept.get("/healthz").status_code == 200
        issuer.process.terminate()
        assert issuer.line() == "ended"
    assert issuer.process.wait(10) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert issuer.snapshot.stat().st_mode & 0o777 == 0o600


def test_workers_end_with_their_parent(issuer: Issuer) -> None:
    assert issuer.line() == ISSUER
    workers = issuer.workers()
    issuer.process.kill()
    issuer.process.wait(10)
    poll(lambda: not any(_runs(pid) for pid in workers))


def _runs(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_error_that_the_user_must_fix_ends_all_processes_with_one_message(tmp_path: Path) -> None:
    failing = Issuer(tmp_path, "rejected")
    _, _ = failing.process.communicate(timeout=20)
    assert failing.process.returncode == 1
    assert "there is no STATE" in failing.log.read_text()
    assert "Traceback" not in failing.log.read_text()
