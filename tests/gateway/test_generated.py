"""Generated requests through each proxy to each service: none passes that the rules do not allow.

GATEWAY_REQUESTS is how many; GATEWAY_SEED makes other ones.
"""

import asyncio
import os
from collections import Counter
from typing import Final

import pytest

from tests.gateway.apis import SERVERS
from tests.gateway.conftest import TargetOf
from tests.gateway.generator import Generator, Request
from tests.gateway.proxies import OVER_HTTP2, WITH_GATEWAY, ProxyKind
from tests.gateway.sending import send_http1, send_http2
from tests.gateway.services.routes import METHODS
from tests.gateway.target import Target

REQUESTS: Final = int(os.environ.get("GATEWAY_REQUESTS", "20000"))
SEED: Final = os.environ.get("GATEWAY_SEED", "1")
FAILURES: Final = (500, 502, 503, 504)
VIA_HTTP1: Final = [(kind, service) for kind in WITH_GATEWAY for service in SERVERS]
VIA_HTTP2: Final = [(kind, service) for kind in OVER_HTTP2 for service in SERVERS]
EACH: Final = -(-REQUESTS // (len(VIA_HTTP1) + len(VIA_HTTP2)))


@pytest.mark.parametrize(("kind", "service"), VIA_HTTP1, ids=lambda p: getattr(p, "name", p))
def test_no_generated_request_passes_that_the_rules_refuse(target_of: TargetOf, kind: ProxyKind, service: str) -> None:
    target = target_of(kind, service)
    requests = _requests(target, f"{SEED} {kind.name} {service}")
    _check(target, requests, asyncio.run(send_http1(target.proxy.port, requests)))


@pytest.mark.parametrize(("kind", "service"), VIA_HTTP2, ids=lambda p: getattr(p, "name", p))
def test_no_generated_request_over_http2_passes_that_the_rules_refuse(
    target_of: TargetOf, kind: ProxyKind, service: str
) -> None:
    target = target_of(kind, service)
    requests = _requests(target, f"{SEED} http2 {kind.name} {service}")
    _check(target, requests, asyncio.run(send_http2(target.proxy.port, requests)))


def _requests(target: Target, seed: str) -> list[Request]:
    generator = Generator(seed, target.tokens)
    target.seen()
    return [generator.request() for _ in range(EACH)]


def _check(target: Target, requests: list[Request], statuses: list[int]) -> None:
    seen = target.seen()  # asserts that each was rightly allowed
    failed = [(each, request) for each, request in zip(statuses, requests, strict=True) if each in FAILURES]
    # A service may close a kept connection at the moment that a request arrives on it.
    assert len(failed) <= max(1, EACH // 1000), [(each, request.method, request.target) for each, request in failed]
    for status, request in zip(statuses, requests, strict=True):
        if not request.mutated and request.method in METHODS and status not in FAILURES:
            token = target.tokens[request.token] if request.token else ""
            assert (status == 200) == target.oracle.allows(request.method, request.target, token), (status, request)
    assert len(seen) > EACH // 10
    assert {routed.route for routed in seen} >= {"health", "asset", "greeting", "salary", "admin"}
    assert Counter(statuses).keys() >= {200, 400, 401, 403}
