"""The HTTP endpoints of the operator for probes and Prometheus."""

from prometheus_client import CollectorRegistry, Gauge

from scopewright.controller.health import health
from scopewright.http import Answer, HttpRequest


def test_health_paths_report_problems_and_only_get_is_served() -> None:
    registry = CollectorRegistry()
    Gauge("scopewright_leader", "", registry=registry).set(1)
    answer = health(list, lambda: ["the watch", "the list"], registry)

    def get(path: str, method: str = "GET") -> tuple[int, bytes]:
        found = answer(HttpRequest(method, path))
        assert isinstance(found, Answer)
        return found.status, found.body

    assert get("/healthz") == (200, b"ok")
    assert get("/readyz") == (503, b"the watch\nthe list")
    assert b"scopewright_leader 1.0" in get("/metrics")[1]
    assert get("/")[0] == 404
    assert get("/healthz", "POST")[0] == 405
