"""Every wait of a benchmark has a time limit, and its error names the condition."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import key_revocation, key_rotation_run, readiness_watch, timeouts
from bench.benchmark import BenchmarkError
from bench.counts import Counts
from bench.key_rotation_run import Periods, RotationWorkload, Rotator
from bench.readiness_watch import ReadinessWatch
from bench.timeouts import time_limit, wait_for_next_second
from scopewright.core.failures import Unavailable
from scopewright.stores.contact import Contact

WORKLOAD = RotationWorkload("bench-test", 2, Periods(3, 1, 10, 45, 20))
BENCH = Path(timeouts.__file__).parent


@pytest.fixture(autouse=True)
def short_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (key_revocation, key_rotation_run, readiness_watch):
        monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(key_rotation_run, "KEY_TIMEOUT_SECONDS", 0.05)


async def test_a_timeout_names_the_condition() -> None:
    with pytest.raises(BenchmarkError, match="waited 0 s for the moon"):
        async with time_limit(0.01, "the moon"):
            await asyncio.Event().wait()


async def test_a_timeout_of_the_block_itself_is_raised_as_it_is() -> None:
    with pytest.raises(TimeoutError):
        async with time_limit(60, "the moon"):
            raise TimeoutError


async def test_the_next_second_has_passed_even_if_a_sleep_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench rotation` once returned the previous second: the newest key was not older than `revokedBefore`."""
    now, began = 1000.25, 1000.25

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds * 0.9 if seconds > 0.001 else seconds

    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    second = await wait_for_next_second()
    assert began < second.timestamp() == 1001 <= now


async def test_a_revoked_key_that_stays_served_is_an_error() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"keys": [{"kid": "old"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(BenchmarkError, match="port 8080 to serve no key that was revoked"):
            await key_revocation._wait_until_removed(client, 8080, {"old"})


class _BrokenApi:
    """An API server that does not answer, or accepts every request and does nothing."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers
        self.contact = Contact()

    async def get(self, *_: object, **__: object) -> dict[str, Any]:
        if not self._answers:
            raise Unavailable("no answer in time")
        return {"metadata": {}, "spec": {}, "items": []}

    async def request(self, *_: object, **__: object) -> dict[str, Any]:
        return await self.get()

    def watch(self, *_: object, **__: object) -> Any:
        raise Unavailable("no answer in time")


async def test_a_key_that_is_not_published_is_an_error() -> None:
    rotator = Rotator(_BrokenApi(answers=True), WORKLOAD, None, Counts())  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="the requested key to be published"):
        await rotator.keys(0, 1)


async def test_a_change_that_is_not_accepted_is_an_error() -> None:
    rotator = Rotator(_BrokenApi(answers=False), WORKLOAD, None, Counts())  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="to accept a change of OAuthClient service-00000"):
        await rotator.request_rotation(next(iter(WORKLOAD.oauth_clients())))


async def test_initial_lists_that_do_not_arrive_are_an_error() -> None:
    with pytest.raises(BenchmarkError, match="first lists of Secrets and OAuthClients"):
        await ReadinessWatch(_BrokenApi(answers=False), WORKLOAD).__aenter__()  # type: ignore[arg-type]


def test_every_wait_for_an_event_has_a_time_limit() -> None:
    """`Event.wait` and `Queue.join` have no timeout of their own: each is inside a block that has one."""
    for module in sorted(BENCH.glob("*.py")):
        lines = module.read_text().splitlines()
        for n, line in enumerate(lines):
            if re.search(r"await [\w.]+\.(join|communicate)\(\)|await (?!asyncio)[\w.]+\.wait\(\)", line):
                around = "\n".join(lines[max(n - 6, 0) : n])
                bounded = "time_limit(" in around or "asyncio.timeout(" in around or ".kill()" in around
                assert bounded, f"{module}:{n + 1}"
