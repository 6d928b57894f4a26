"""Every wait of a benchmark ends, and says what it waited for."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import emergency, turning, waiting
from bench.arrivals import Arrivals
from bench.benchmark import BenchmarkError
from bench.counts import Counts
from bench.turning import Periods, Rotator, Turning
from bench.waiting import next_second, within
from scopewright.core.failures import Unavailable

WORKLOAD = Turning("bench-test", 2, Periods(3, 1, 10, 45, 20))
BENCH = Path(waiting.__file__).parent


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in ((emergency, "PATIENCE"), (turning, "PATIENCE"), (turning, "KEY_PATIENCE")):
        monkeypatch.setattr(module, name, 0.05)
    monkeypatch.setattr("bench.arrivals.PATIENCE", 0.05)


async def test_a_wait_that_takes_too_long_says_for_what() -> None:
    with pytest.raises(BenchmarkError, match="waited 0 s for the moon"):
        async with within(0.01, "the moon"):
            await asyncio.Event().wait()


async def test_a_time_out_of_something_else_is_not_taken_for_it() -> None:
    with pytest.raises(TimeoutError):
        async with within(60, "the moon"):
            raise TimeoutError


async def test_the_next_second_has_come_although_sleeps_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """`bench rotation` once took the second that was over: the newest key was not older than `revokedBefore`."""
    now, began = 1000.25, 1000.25

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds * 0.9 if seconds > 0.001 else seconds

    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    second = await next_second()
    assert began < second.timestamp() == 1001 <= now


async def test_a_key_that_stays_served_ends_the_emergency() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"keys": [{"kid": "old"}]})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(BenchmarkError, match="port 8080 to serve no key that was revoked"):
            await emergency._until_gone(client, 8080, {"old"})


class _Away:
    """An API server that does not answer, or says yes and does nothing."""

    def __init__(self, *, answers: bool) -> None:
        self._answers = answers

    async def get(self, *_: object, **__: object) -> dict[str, Any]:
        if not self._answers:
            raise Unavailable("no answer in time")
        return {"metadata": {}, "spec": {}, "items": []}

    async def request(self, *_: object, **__: object) -> dict[str, Any]:
        return await self.get()

    def watch(self, *_: object, **__: object) -> Any:
        raise Unavailable("no answer in time")


async def test_a_key_that_is_not_published_ends_the_rotations() -> None:
    rotator = Rotator(_Away(answers=True), WORKLOAD, None, Counts())  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="the key that was asked for to be published"):
        await rotator.keys(0, 1)


async def test_a_change_that_is_not_taken_ends_the_rotations() -> None:
    rotator = Rotator(_Away(answers=False), WORKLOAD, None, Counts())  # type: ignore[arg-type]
    with pytest.raises(BenchmarkError, match="to take a change of OAuthClient service-00000"):
        await rotator.ask(next(iter(WORKLOAD.oauth_clients())))


async def test_lists_that_do_not_come_end_the_beginning() -> None:
    with pytest.raises(BenchmarkError, match="first lists of Secrets and OAuthClients"):
        await Arrivals(_Away(answers=False), WORKLOAD).__aenter__()  # type: ignore[arg-type]


def test_no_event_is_waited_for_outside_of_a_limit() -> None:
    """`Event.wait` and `Queue.join` have no time-out of their own: each stands in a block that has one."""
    for module in sorted(BENCH.glob("*.py")):
        lines = module.read_text().splitlines()
        for n, line in enumerate(lines):
            if re.search(r"await [\w.]+\.(join|communicate)\(\)|await (?!asyncio)[\w.]+\.wait\(\)", line):
                around = "\n".join(lines[max(n - 6, 0) : n])
                assert "within(" in around or "asyncio.timeout(" in around or ".kill()" in around, f"{module}:{n + 1}"
