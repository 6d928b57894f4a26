"""The issuer in the operator's Pod always has a token, which appears only in its volume."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scopewright.controller.preflight import preflight
from scopewright.controller.sidecar import TOKEN_LIFETIME_SECONDS, Sidecar, TokenMinter
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.kubernetes import connect as kube_connect
from scopewright.stores.kubernetes.api import Identity
from tests.harness.samples import ISSUER, NAMESPACE
from tests.unit.controller.test_preflight import api_without
from tests.unit.stores_kubernetes.fake_api import FakeApi

PATH = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/the-issuer/token"


class StopSleeping(Exception):
    """Ends the loop of the code under test."""


class FakeSleep:
    """Records how long each sleep would take, and raises StopSleeping in the last one."""

    def __init__(self, times: int) -> None:
        self.slept: list[float] = []
        self._times = times

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self._times:
            raise StopSleeping


def token_answer(token: str, life: int = TOKEN_LIFETIME_SECONDS) -> dict[str, Any]:
    return {"spec": {"expirationSeconds": life}, "status": {"token": token}}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    shared = tmp_path / "issuer"
    shared.mkdir()
    return shared


@pytest.fixture
def no_directory(directory: Path) -> None:
    directory.rmdir()


def content(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def modes(directory: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in directory.iterdir()}


@pytest.fixture
def minter(tmp_path: Path, directory: Path) -> Callable[..., TokenMinter]:
    authority = tmp_path / "authority.crt"
    authority.write_text("the authority")

    def make(*answers: Any, sleep: FakeSleep) -> TokenMinter:
        api = FakeApi()
        api.answer(f"POST {PATH}", *answers)
        api.identity = lambda: Identity("https://fake", str(authority), False, None, None, None)  # type: ignore[attr-defined]
        return TokenMinter(api.as_api(), NAMESPACE, Sidecar("the-issuer", directory), sleep)

    return make


async def test_the_directory_has_the_files_of_a_mounted_service_account(
    minter: Callable[..., TokenMinter], directory: Path
) -> None:
    with pytest.raises(StopSleeping):
        await minter(token_answer("a-token"), sleep=FakeSleep(1)).run()
    assert content(directory) == {"token": "a-token", "ca.crt": "the authority", "namespace": NAMESPACE}
    assert modes(directory) == {0o600}


async def test_a_token_is_replaced_after_half_of_its_lifetime(
    minter: Callable[..., TokenMinter], directory: Path
) -> None:
    sleep = FakeSleep(2)
    with pytest.raises(StopSleeping):
        await minter(token_answer("first", 900), token_answer("second", 3600), sleep=sleep).run()
    assert match(sleep.slept, [450, 1800])
    assert (directory / "token").read_text() == "second"


async def test_a_failed_request_is_retried_and_the_former_token_stays(
    minter: Callable[..., TokenMinter], directory: Path
) -> None:
    down, forbidden = Unavailable("down"), Rejected("Forbidden", "a right is missing")
    sleep = FakeSleep(7)
    with pytest.raises(StopSleeping):
        await minter(
            token_answer("first"), down, forbidden, down, down, down, token_answer("second"), sleep=sleep
        ).run()
    assert match(sleep.slept, [TOKEN_LIFETIME_SECONDS / 2, 1, 2, 4, 8, 10, TOKEN_LIFETIME_SECONDS / 2])
    assert (directory / "token").read_text() == "second"


@pytest.mark.usefixtures("no_directory")
async def test_a_directory_that_cannot_be_written_is_logged_and_retried(
    minter: Callable[..., TokenMinter], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(StopSleeping):
        await minter(token_answer("a-token"), sleep=FakeSleep(1)).run()
    assert "no new token for the-issuer" in caplog.text
    assert "a-token" not in caplog.text


async def test_the_right_to_create_tokens_is_needed_for_one_service_account() -> None:
    api = api_without({("serviceaccounts", "create")})
    await preflight(api.as_api(), Config(issuer=ISSUER))
    with pytest.raises(Rejected) as refused:
        await preflight(api.as_api(), Config(issuer=ISSUER), "the-issuer")
    assert f"create serviceaccounts/token in namespace {NAMESPACE}, for the name the-issuer" in refused.value.message


async def test_an_issuer_waits_for_the_token_in_its_volume(directory: Path) -> None:
    waiting = asyncio.create_task(kube_connect._mounted(directory, timeout=30))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    (directory / "token").write_text("a-token")
    await asyncio.wait_for(waiting, 5)


async def test_without_a_mounted_service_account_an_issuer_does_not_wait(tmp_path: Path) -> None:
    await asyncio.wait_for(kube_connect._mounted(tmp_path / "none", timeout=30), 1)


def match(pauses: list[float], expected: list[float]) -> bool:
    """Whether the pauses are those expected: retries within a fifth, renewals up to a tenth early and never late."""
    return len(pauses) == len(expected) and all(
        (0.9 * base <= pause <= base) if base > 10 else (0.8 * base <= pause <= 1.2 * base)
        for base, pause in zip(expected, pauses, strict=True)
    )
