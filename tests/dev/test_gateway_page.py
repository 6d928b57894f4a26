"""docs/gateway/index.md, "The first ten minutes": its files and commands, with nginx in front of the service."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import httpx

from tests.debian import program
from tests.documents import ROOT, document
from tests.harness.waiting import poll
from tests.pages.page import Page
from tests.ports import free_port
from tests.running import Running

_PAGE: Final = document(ROOT / "docs/gateway/index.md")
_END: Final = "\n## What a proxy gets\n"


def test_first_ten_minutes(tmp_path: Path) -> None:
    program("nginx", package="nginx-light")
    page = Page.of(_PAGE)
    steps = [block.text for block in _PAGE.blocks if block.language == "sh" and block.line < _line_of(_END)]
    page = replace(page, scripts=steps)
    state = tmp_path / "state"
    state.mkdir()
    page.run(tmp_path, free_port(), state)
    assert len([text for command in page.commands for text in command.expected]) == 7


def test_gateway_of_its_own_follows_the_state_of_dev(tmp_path: Path) -> None:
    """Two workers: what one of them decides, each can."""
    page = Page.of(_PAGE)
    with Running(tmp_path, {"payroll.yaml": page.files["manifests/payroll.yaml"]}) as dev:
        gateway, metrics = (f"127.0.0.1:{free_port()}" for _ in range(2))
        log = tmp_path / "gateway.log"
        command = [str(Path(sys.executable).with_name("scopewright")), "gateway", "--source", str(dev.state)]
        command += ["--listen", gateway, "--metrics-listen", metrics, "--workers", "2", "--replay", "per-process"]
        with log.open("wb") as output:
            running = subprocess.Popen(
                [*command, "--profile", "nginx", "--profile", "traefik"], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            poll(lambda: f"gateway ready at http://{gateway}" in log.read_text(), log.read_text, seconds=60)
            asked = {"X-Original-Method": "GET", "X-Original-URI": "/healthz"}
            url = f"http://{gateway}/auth/nginx/payroll.example"
            assert [httpx.get(url, headers=asked).status_code for _ in range(10)] == [200] * 10
            assert httpx.get(url, headers={**asked, "X-Original-URI": "/salaries/ada"}).status_code == 401
            assert httpx.get(f"http://{gateway}/auth/envoy/payroll.example/healthz").status_code == 404
            assert httpx.get(f"http://{metrics}/readyz").json() == {"status": "ok"}
            exported = poll(lambda: _metrics(metrics, "scopewright_gateway_ready_workers 2.0"))
            assert 'reason="",result="allowed",rule="health"} 10.0' in exported
        finally:
            running.terminate()
            assert running.wait(30) == 0
        assert '"reason":"missing"' in log.read_text()
        assert "Traceback" not in log.read_text()


def _metrics(address: str, sample: str) -> str:
    """The metrics if they have the sample: a worker records its gauges every five seconds."""
    text = httpx.get(f"http://{address}/metrics").text
    return text if sample in text else ""


def _line_of(text: str) -> int:
    return _PAGE.text[: _PAGE.text.index(text)].count("\n")
