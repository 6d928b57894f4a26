"""`make demo ARGS=--check`: every row is as expected, and no process is left, however it ends."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from examples.hr.demo.children import ROOT, Children, DemoFailed
from examples.hr.demo.report import Answer, Expected, Report
from tests.doc_checks import command_problems

COMMAND = [sys.executable, "-m", "examples.hr"]


def environment(folder: Path) -> dict[str, str]:
    """Put all files of the demo below `folder`, which also identifies its processes."""
    return {**os.environ, "TMPDIR": str(folder)}


def left_over(folder: Path) -> dict[int, str]:
    """The processes that have inherited the demo's environment, with their commands."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def wait_for(process: "subprocess.Popen[str]", folder: Path, children: int) -> None:
    deadline = time.monotonic() + 30
    while len(left_over(folder)) <= children:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_check_shows_every_row_as_expected_and_leaves_no_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--check"], cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "rows were as expected" in done.stdout
    assert "✗" not in done.stdout
    for shown in ("insufficient_scope", "another audience", "signature", "expired", "invalid_target", "invalid_scope"):
        assert shown in done.stdout
    assert "eyJ" not in done.stdout  # no token is printed
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("children", [1, 5])
def test_a_signal_at_any_time_leaves_no_process(tmp_path: Path, number: signal.Signals, children: int) -> None:
    with subprocess.Popen(
        [*COMMAND, "--check"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_for(process, tmp_path, children)
        process.send_signal(number)
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == {}


def test_a_dead_service_ends_the_demo_with_the_end_of_its_log(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "--check"],
        cwd=ROOT,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        wait_for(process, tmp_path, 4)
        victim = 0
        while not victim:  # its name is another one between fork and exec
            assert process.poll() is None
            victim = next((p for p, command in left_over(tmp_path).items() if "examples.hr.leave:create" in command), 0)
        os.kill(victim, signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "leave ended with status -9; the end of its log:" in output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == {}


def test_without_check_the_demo_keeps_running_and_prints_commands(tmp_path: Path) -> None:
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=environment(tmp_path) | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        output = ""
        while "Ctrl-C ends it" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        commands = output[output.index("  SECRET=") : output.index("Ctrl-C")]
        tried = ""
        if shutil.which("curl"):
            tried = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, timeout=100).stdout
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=100)
    if shutil.which("curl"):
        assert "200 OK" in tried
        assert "Ada Lindqvist" in tried
        assert "403 Forbidden" in tried
    assert command_problems(commands) == []
    assert process.returncode == 0, rest
    assert list(tmp_path.iterdir()) == []
    assert left_over(tmp_path) == {}


async def test_a_child_that_ends_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("scopewright dev", "scopewright.cli", "dev", str(tmp_path), "--listen", "nowhere")
        with pytest.raises(DemoFailed, match="scopewright dev ended with status 1") as caught:
            await child.wait_for_log("ready")
    assert "pass HOST:PORT" in str(caught.value)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("examples.hr.demo.children.GRACE_SECONDS", 0.2)
    (tmp_path / "stubborn.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    with Children(tmp_path) as children:
        child = children.start("stubborn", "stubborn", env={"PYTHONPATH": str(tmp_path)})
        while "ready" not in (tmp_path / "stubborn.log").read_text():
            time.sleep(0.02)
    with pytest.raises(DemoFailed, match="status -9"):
        child.check()


def test_an_unexpected_row_is_a_failure() -> None:
    report = Report(Console(file=io.StringIO()))
    refused = httpx.Response(401, json={"error": "invalid_token", "error_description": "The token has expired"})
    with report.section("tried"):
        for expected in (
            Expected(401, "invalid_token", "expired"),
            Expected(403, "invalid_token", "expired"),
            Expected(401, "invalid_request", "expired"),
            Expected(401, "invalid_token", "signature"),
        ):
            report.row("hr-desk", f"GET, expecting {expected}", expected, Answer.of(refused))
        report.row("hr-desk", "GET", Expected(200), Answer.of(httpx.Response(500, text="Internal Server Error")))
    assert (report.rows, len(report.failures)) == (5, 4)
    assert "got 500: Internal Server Error" in report.failures[-1]
