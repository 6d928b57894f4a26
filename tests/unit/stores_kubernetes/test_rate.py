"""How busy one process may keep the API server."""

from typing import Any, cast

import pytest

from scopewright.stores.kube_api import LEASES, Api
from scopewright.stores.kube_rate import RateLimit


class Time:
    """Nobody waits: time passes for whoever sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


async def test_a_burst_goes_at_once_and_the_rest_at_the_rate_in_order() -> None:
    time = Time()
    limit = RateLimit(10, 3, time.monotonic, time.sleep)
    for _ in range(6):
        await limit.wait()
    assert time.slept == pytest.approx([0.1, 0.2, 0.3])
    time.now += 10
    time.slept.clear()
    for _ in range(4):
        await limit.wait()
    assert time.slept == pytest.approx([0.1]), "a pause is good for one burst"


async def test_leadership_does_not_wait_behind_a_backlog() -> None:
    class Client:
        configuration = type("Configuration", (), {"host": "https://fake"})

    api = Api(cast("Any", Client))
    time = Time()
    api.limit = RateLimit(1, 1, time.monotonic, time.sleep)

    async def answer(*_: Any) -> dict[str, Any]:
        return {}

    api._request = answer  # type: ignore[method-assign, assignment]
    for _ in range(3):
        await api.get("/api/v1/secrets")
    assert time.slept == [1, 2]
    await api.get(f"{LEASES}v1/namespaces/scopewright-system/leases/scopewright-operator")
    assert time.slept == [1, 2]
