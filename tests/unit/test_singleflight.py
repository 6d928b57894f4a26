"""Concurrent callers share one fetch, and every wait is bounded."""

import asyncio
import threading

import httpx
import pytest

from scopewright import singleflight
from scopewright.singleflight import Fetch, RefreshDecision, SingleFlight


def never(client: httpx.Client) -> str:
    threading.Event().wait(5)
    return "late"


async def never_async(client: httpx.AsyncClient) -> str:
    await asyncio.sleep(3600)
    return "late"


def now() -> RefreshDecision:
    return RefreshDecision.NOW


def test_fetch_that_does_not_end_is_abandoned_and_the_next_caller_starts_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(singleflight, "MAX_WAIT_SECONDS", 0.05)
    outcomes: list[object] = []
    flights = SingleFlight("test", "Test", None, Fetch(never, never_async), outcomes.append)
    first = flights.begin(now)
    assert first is not None
    assert not flights.wait_sync(first, 0.06)
    assert flights.begin(now) is not first


def test_short_wait_does_not_abandon_a_fetch() -> None:
    outcomes: list[object] = []
    flights = SingleFlight("test", "Test", None, Fetch(never, never_async), outcomes.append)
    first = flights.begin(now)
    assert first is not None
    assert not flights.wait_sync(first, 0.01)
    assert flights.begin(now) is first


def test_fetch_ends_with_its_event_loop() -> None:
    outcomes: list[object] = []

    async def begin() -> bool:
        flight = flights.begin(now)
        assert flight is not None
        return await flights.wait(flight, 0.01)

    flights = SingleFlight("test", "Test", httpx.AsyncClient(), Fetch(never, never_async), outcomes.append)
    assert not asyncio.run(begin())
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError]
    assert not asyncio.run(begin()), "a new fetch has started"
