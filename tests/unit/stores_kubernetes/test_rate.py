"""Rate limit of requests to the API server."""

from typing import Any, cast

import pytest

from scopewright.core.failures import NotLeading
from scopewright.stores.kubernetes.api import LEASES, Api
from scopewright.stores.kubernetes.rate_limit import RateLimit


class FakeClock:
    """Sleeping takes no time; `slept` are the seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_burst_is_sent_at_once_and_the_rest_at_the_rate() -> None:
    time = FakeClock()
    limit = RateLimit(10, 3, time.monotonic, time.sleep)
    for _ in range(6):
        await limit.wait()
    assert time.slept == pytest.approx([0.1, 0.2, 0.3])
    time.now += 10
    time.slept.clear()
    for _ in range(4):
        await limit.wait()
    assert time.slept == pytest.approx([0.1]), "a pause allows one burst"


def limited(time: FakeClock) -> tuple[Api, list[tuple[str, str]]]:
    """An API with a limit of one request a second, and the requests that were sent."""

    class Client:
        configuration = type("Configuration", (), {"host": "https://fake"})

    api, sent = Api(cast("Any", Client)), list[tuple[str, str]]()
    api.limit = RateLimit(1, 1, time.monotonic, time.sleep)

    async def answer(method: str, path: str, *_: Any) -> dict[str, Any]:
        sent.append((method, path))
        return {}

    api._request = answer  # type: ignore[method-assign, assignment]
    return api, sent


async def test_lease_request_does_not_wait_in_the_queue() -> None:
    time = FakeClock()
    api, _ = limited(time)
    for _ in range(3):
        await api.get("/api/v1/secrets")
    assert time.slept == [1, 2]
    await api.get(f"{LEASES}v1/namespaces/scopewright-system/leases/scopewright-operator")
    assert time.slept == [1, 2]


async def test_waiting_write_is_not_sent_after_lost_leadership() -> None:
    time = FakeClock()
    api, sent = limited(time)
    api.leads = lambda: not time.slept
    await api.get("/first")
    for method in ("POST", "PUT", "DELETE"):
        time.slept.clear()
        with pytest.raises(NotLeading):
            await api.request(method, "/api/v1/secrets")
    time.slept.clear()
    await api.get("/api/v1/secrets")
    assert sent == [("GET", "/first"), ("GET", "/api/v1/secrets")]


async def test_requests_of_a_standby_are_sent() -> None:
    time = FakeClock()
    api, sent = limited(time)
    api.leads = lambda: False
    for _ in range(2):
        await api.request("POST", "/review")
    assert sent == [("POST", "/review")] * 2
