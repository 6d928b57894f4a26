"""The service of docs/dpop.md and an issuer that requires DPoP, as two processes."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError
from scopewright.client.dpop import Prover
from tests.dev.test_dev import PAYROLL, Dev
from tests.documents import ROOT, document
from tests.pages.page import Page
from tests.ports import free_port

CODE = Page.of(document(ROOT / "docs/dpop.md")).files
BASE_URL = "http://127.0.0.1:8000"
REQUIRED = PAYROLL.replace("spec:\n  scopes:", "spec:\n  tokens: {dpopBoundAccessTokensRequired: true}\n  scopes:")
AUDIENCE = "https://payroll-api.payroll.svc"


class Payroll:
    """The service of the page, on a free port."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, token: str, proof: str | None, scheme: str = "DPoP", path: str = "/salaries/7") -> httpx.Response:
        headers = {"Authorization": f"{scheme} {token}"} | ({"DPoP": proof} if proof else {})
        return httpx.get(self.url + path, headers=headers)


@contextmanager
def serving(folder: Path, issuer: str) -> Iterator[Payroll]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    assert BASE_URL in CODE["service.py"]
    (folder / "service.py").write_text(CODE["service.py"].replace(BASE_URL, url))
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    environment = os.environ | {"SCOPEWRIGHT_ISSUER": issuer, "SCOPEWRIGHT_AUDIENCE": AUDIENCE}
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        try:
            until = time.monotonic() + 20
            while not _listens(port):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
            yield Payroll(url)
        finally:
            process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    running = Dev(tmp_path)
    running.write("payroll.yaml", REQUIRED)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def payroll(dev: Dev, tmp_path: Path) -> Iterator[Payroll]:
    with serving(tmp_path, dev.url) as service:
        yield service


def test_without_a_proof_no_token_is_issued_and_a_stolen_one_is_refused(dev: Dev, payroll: Payroll) -> None:
    refused = dev.token()
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_request")
    assert "DPoP proof" in refused.json()["error_description"]
    secret = dev.state / "secrets/leave/worker-oauth"
    with pytest.raises(TokenError, match="DPoP proof"):
        ClientCredentials(secret).token_sync()

    holder, thief = ClientCredentials(secret, dpop=True), Prover()
    token = holder.token_sync().value
    prover = holder._prover
    assert prover is not None
    url = httpx.URL(f"{payroll.url}/salaries/7")
    good = prover.proof("GET", url, time.time(), token)
    assert payroll.get(token, good).status_code == 200
    for scheme, proof in {
        "Bearer": None,
        "bearer": good,
        "DPoP": good,  # a replay
        "dpop": thief.proof("GET", url, time.time(), token),
        "DPOP": None,
        "DPoP ": prover.proof("POST", url, time.time(), token),
    }.items():
        answer = payroll.get(token, proof, scheme)
        assert answer.status_code == 401, scheme
        assert answer.headers["www-authenticate"].startswith("DPoP error="), scheme
    other = prover.proof("GET", httpx.URL(f"{payroll.url}/salaries/8"), time.time(), token)
    assert payroll.get(token, other).json()["error"] == "invalid_dpop_proof"
    assert payroll.get(token, prover.proof("GET", url, time.time(), token)).status_code == 200


def test_the_nonce_key_survives_a_restart(dev: Dev) -> None:
    """So that no client must retry, and replicas accept each other's nonces."""
    secret = dev.state / "secrets/leave/worker-oauth"
    holder = ClientCredentials(secret, dpop=True)
    assert holder.token_sync().value
    dev.stop()
    dev.start()
    prover = holder._prover
    assert prover is not None
    endpoint = httpx.URL(dev.secret("token_endpoint"))
    headers = {"DPoP": prover.proof("POST", endpoint, time.time())}
    basic = (dev.secret("client_id"), dev.secret("client_secret"))
    answer = httpx.post(endpoint, data={"grant_type": "client_credentials"}, auth=basic, headers=headers)
    assert answer.json()["token_type"] == "DPoP"


async def test_the_shared_replay_memory_of_the_page_works(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text(CODE["shared.py"])
    spec = importlib.util.spec_from_file_location("shared", tmp_path / "shared.py")
    assert spec is not None
    assert spec.loader is not None
    page: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)

    class Valkey:
        def __init__(self) -> None:
            self.names: set[str] = set()

        async def set(self, name: str, value: bytes, *, nx: bool, pxat: int) -> bool | None:
            assert (value, nx, pxat) == (b"", True, 1_800_000_000_500)
            fresh = name not in self.names
            self.names.add(name)
            return fresh or None

    one, other = [page.Shared(client) for client in [Valkey()] * 2]
    assert await one.first_use("leave.worker", "key jti", 1_800_000_000.5)
    assert not await other.first_use("leave.worker", "key jti", 1_800_000_000.5)
    assert await other.first_use("leave.other", "key jti", 1_800_000_000.5)
