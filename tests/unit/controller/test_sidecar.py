"""The issuer beside the operator always has a token of its own, and it is never seen elsewhere."""

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
from tests.unit.controller.test_resync import reviewing
from tests.unit.stores_kubernetes.fake_api import FakeApi

PATH = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/the-issuer/token"


class Enough(Exception):
    """The test has seen what it wanted."""


class Sleeping:
    """Notes how long, and ends after so many."""

    def __init__(self, times: int) -> None:
        self.slept: list[float] = []
        self._times = times

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == self._times:
            raise Enough


def minted(token: str, life: int = TOKEN_LIFETIME_SECONDS) -> dict[str, Any]:
    return {"spec": {"expirationSeconds": life}, "status": {"token": token}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shared = tmp_path / "issuer"
    shared.mkdir()
    return shared


@pytest.fixture
def no_folder(folder: Path) -> None:
    folder.rmdir()


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def modes(folder: Path) -> set[int]:
    return {path.stat().st_mode & 0o777 for path in folder.iterdir()}


@pytest.fixture
def minting(tmp_path: Path, folder: Path) -> Callable[..., TokenMinter]:
    authority = tmp_path / "authority.crt"
    authority.write_text("the authority")

    def make(*answers: Any, sleep: Sleeping) -> TokenMinter:
        api = FakeApi()
        api.answer(f"POST {PATH}", *answers)
        api.identity = lambda: Identity("https://fake", str(authority), False, None, None, None)  # type: ignore[attr-defined]
        return TokenMinter(api.as_api(), NAMESPACE, Sidecar("the-issuer", folder), sleep)

    return make


async def test_the_directory_has_the_files_of_a_mounted_service_account(
    minting: Callable[..., TokenMinter], folder: Path
) -> None:
    with pytest.raises(Enough):
        await minting(minted("a-token"), sleep=Sleeping(1)).run()
    assert content(folder) == {"token": "a-token", "ca.crt": "the authority", "namespace": NAMESPACE}
    assert modes(folder) == {0o600}


async def test_a_token_is_replaced_after_half_of_its_lifetime(
    minting: Callable[..., TokenMinter], folder: Path
) -> None:
    sleep = Sleeping(2)
    with pytest.raises(Enough):
        await minting(minted("first", 900), minted("second", 3600), sleep=sleep).run()
    assert about(sleep.slept, [450, 1800])
    assert (folder / "token").read_text() == "second"


async def test_a_failed_request_is_retried_and_the_former_token_stays(
    minting: Callable[..., TokenMinter], folder: Path
) -> None:
    down, forbidden = Unavailable("down"), Rejected("Forbidden", "a right is missing")
    sleep = Sleeping(7)
    with pytest.raises(Enough):
        await minting(minted("first"), down, forbidden, down, down, down, minted("second"), sleep=sleep).run()
    assert about(sleep.slept, [TOKEN_LIFETIME_SECONDS / 2, 1, 2, 4, 8, 10, TOKEN_LIFETIME_SECONDS / 2])
    assert (folder / "token").read_text() == "second"


@pytest.mark.usefixtures("no_folder")
async def test_a_directory_that_cannot_be_written_is_logged_and_retried(
    minting: Callable[..., TokenMinter], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(Enough):
        await minting(minted("a-token"), sleep=Sleeping(1)).run()
    assert "no new token for the-issuer" in caplog.text
    assert "a-token" not in caplog.text


async def test_the_right_to_create_tokens_is_needed_for_one_service_account() -> None:
    api = reviewing({("serviceaccounts", "create")})
    await preflight(api.as_api(), Config(issuer=ISSUER))
    with pytest.raises(Rejected) as refused:
        await preflight(api.as_api(), Config(issuer=ISSUER), "the-issuer")
    assert f"create serviceaccounts/token of the-issuer in namespace {NAMESPACE}" in refused.value.message


async def test_an_issuer_waits_for_the_token_in_its_volume(folder: Path) -> None:
    waiting = asyncio.create_task(kube_connect._mounted(folder, timeout=30))
    await asyncio.sleep(0.15)
    assert not waiting.done()
    (folder / "token").write_text("a-token")
    await asyncio.wait_for(waiting, 5)


async def test_without_a_mounted_service_account_an_issuer_does_not_wait(tmp_path: Path) -> None:
    await asyncio.wait_for(kube_connect._mounted(tmp_path / "none", timeout=30), 1)


def about(pauses: list[float], expected: list[float]) -> bool:
    """But for jitter: a fifth for what failed; a renewal comes a tenth early at most, and never late."""
    return len(pauses) == len(expected) and all(
        (0.9 * base <= pause <= base) if base > 10 else (0.8 * base <= pause <= 1.2 * base)
        for base, pause in zip(expected, pauses, strict=True)
    )
