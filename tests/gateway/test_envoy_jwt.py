"""The example with Envoy's jwt_authn and RBAC in place of the gateway: it opens nothing that the rules refuse."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.gateway.apis import SERVERS, Service
from tests.gateway.gateway import VALID, Gateway
from tests.gateway.generator import Generator
from tests.gateway.oracle import Oracle, rules
from tests.gateway.proxies import ENVOY_JWT, Proxy
from tests.gateway.sending import send_http1, send_http2
from tests.gateway.target import Target
from tests.gateway.test_tricks import FORGED, TO_ADMIN
from tests.gateway.wire import bearer, request

REQUESTS = 500


@pytest.fixture(scope="module", params=SERVERS)
def target(
    request: pytest.FixtureRequest, gateway: Gateway, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp(f"envoy-jwt-{request.param}")
    oracle = Oracle(rules(), frozenset(gateway.tokens[name] for name in VALID))
    with Service(request.param, folder) as service:
        ports = {"issuer": gateway.issuer_port, "service": service.port}
        with Proxy(ENVOY_JWT, folder / "proxy", ports) as proxy:
            yield Target(proxy, service, oracle, gateway.tokens)


def test_a_valid_token_with_its_scope_passes(target: Target, reader: str) -> None:
    assert target.passes(request("GET", "/salaries/7", bearer(reader))).values("x-auth-client") == ["payroll.reader"]
    assert target.passes(request("PUT", "/salaries/7", bearer(target.tokens["writer"]))).method == "PUT"
    assert target.passes(request("GET", "/healthz")).route == "health"


def test_what_no_policy_names_is_refused(target: Target, reader: str, admin: str) -> None:
    for token in (reader, admin):
        for method, path in (("GET", "/admin/x"), ("GET", "/salaries/export"), ("POST", "/salaries/7"), ("GET", "/")):
            target.refuses(request(method, path, bearer(token)))


@pytest.mark.parametrize("name", ["expired", "foreign", "forged"])
def test_a_token_that_is_not_valid_is_refused(target: Target, name: str) -> None:
    answer = target.refuses(request("GET", "/salaries/7", bearer(target.tokens[name])))
    assert answer is not None
    assert answer.status in (401, 403)


def test_no_spelling_of_a_path_opens_another(target: Target, reader: str) -> None:
    for path in TO_ADMIN.values():
        target.refuses(request("GET", path, bearer(reader)))


def test_forged_identity_headers_do_not_reach_the_service(target: Target, reader: str) -> None:
    for name in FORGED:
        for path in ("/salaries/7", "/healthz"):
            assert "root" not in str(target.passes(request("GET", path, (name, "root"), bearer(reader))))


def test_no_generated_request_passes_that_the_rules_refuse(target: Target) -> None:
    generator = Generator(f"jwt {target.service.name}", target.tokens)
    requests = [generator.request() for _ in range(REQUESTS)]
    statuses = asyncio.run(send_http1(target.proxy.port, requests))
    statuses += asyncio.run(send_http2(target.proxy.port, requests))
    seen = target.seen()
    assert len(seen) > REQUESTS // 20
    assert max(statuses) < 500
