"""Examples with one mistake each: what the other tests assert of the services' records finds every one of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.gateway.apis import Service
from tests.gateway.gateway import VALID, Gateway
from tests.gateway.oracle import Oracle, rules
from tests.gateway.proxies import CADDY, ENVOY, HAPROXY, NGINX, Proxy, ProxyKind
from tests.gateway.wire import ask, bearer, request

MISTAKES: Final = {
    "nginx asks about the method GET": (NGINX, "X-Original-Method $request_method;", "X-Original-Method GET;"),
    "nginx takes the API from Host": (NGINX, "/auth/nginx/payroll.hr.example;", "/auth/nginx/$http_x_forwarded_host;"),
    "nginx passes on a forged subject": (NGINX, "proxy_set_header X-Auth-Subject $auth_subject;", ""),
    "nginx passes on names with underscores": (NGINX, "underscores_in_headers off;", "underscores_in_headers on;"),
    "nginx passes on every upgrade": (NGINX, "Upgrade $passed_upgrade;", "Upgrade $http_upgrade;"),
    "nginx passes on a forged host": (NGINX, "X-Forwarded-Host payroll.hr.example;", "X-Real-Host x;"),
    "nginx asks about nothing": (NGINX, "auth_request /_gateway;", ""),
    "Envoy passes on names with underscores": (
        ENVOY,
        "underscores_action: REJECT_REQUEST",
        "underscores_action: ALLOW",
    ),
    "Envoy hides method overrides": (ENVOY, "{exact: x-http-method-override}", "{exact: x-other}"),
    "Envoy passes on no identity": (ENVOY, "- {prefix: x-auth-, ignore_case: true}\n", "- {prefix: y-auth-}\n"),
    "HAProxy passes on names with underscores": (HAPROXY, "{ req.hdr_names -m sub _ }", "{ always_false }"),
    "HAProxy passes on two tokens": (HAPROXY, "{ req.fhdr_cnt(authorization) gt 1 }", "{ always_false }"),
    "HAProxy passes on every upgrade": (HAPROXY, "{ req.hdr_cnt(upgrade) gt 0 }", "{ always_false }"),
    "Caddy removes what Connection names": (CADDY, "request_header -Connection", ""),
    "Caddy passes on names with underscores": (CADDY, "request_header -*_*", ""),
    "Caddy passes on two tokens": (CADDY, "request_header @authorization", "request_header @websocket"),
    "Caddy passes on no roles and scopes": (CADDY, "X-Auth-Scope X-Auth-Roles", ""),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service("starlette", tmp_path_factory.mktemp("service")) as running:
        yield running


def suspicious(gateway: Gateway) -> Iterator[bytes]:
    """Requests to which each mistake gives something away."""
    reader, admin = bearer(gateway.tokens["reader"]), bearer(gateway.tokens["admin"])
    yield request("GET", "/admin/x", reader)
    yield request("GET", "/internal/x")
    yield request("PUT", "/salaries/7", reader)
    yield request("GET", "/healthz%3fx")
    yield request("GET", "/admin/x", reader, ("X-Forwarded-Host", "open.hr.example"))
    for path in ("/salaries/7", "/healthz"):
        yield request("GET", path, reader)
        yield request("GET", path, reader, ("X-Auth-Subject", "root"))
        yield request("GET", path, reader, ("X_Auth_Subject", "root"))
        yield request("GET", path, reader, ("X-Forwarded-Host", "open.hr.example"))
        yield request("GET", path, reader, ("X-HTTP-Method-Override", "PUT"))
        yield request("GET", path, reader, ("Connection", "close, X-Auth-Subject, X-Auth-Scope"))
        yield request("GET", path, reader, ("Connection", "Upgrade"), ("Upgrade", "h2c"))
        yield request("GET", path, reader, admin)


@pytest.mark.parametrize(("kind", "text", "mistake"), MISTAKES.values(), ids=MISTAKES)
def test_the_mistake_is_found(
    gateway: Gateway, service: Service, tmp_path: Path, kind: ProxyKind, text: str, mistake: str
) -> None:
    oracle = Oracle(rules(), frozenset(gateway.tokens[name] for name in VALID))
    ports = {"gateway": gateway.port, "service": service.port}
    with Proxy(kind, tmp_path / "proxy", ports, (text, mistake)) as proxy:
        for each in suspicious(gateway):
            ask(proxy.port, each)
    assert any(oracle.violations(routed) for routed in service.routed())


@pytest.mark.parametrize("kind", [NGINX, ENVOY, HAPROXY, CADDY], ids=lambda kind: kind.name)
def test_without_a_mistake_nothing_is_found(
    gateway: Gateway, service: Service, tmp_path: Path, kind: ProxyKind
) -> None:
    oracle = Oracle(rules(), frozenset(gateway.tokens[name] for name in VALID))
    with Proxy(kind, tmp_path / "proxy", {"gateway": gateway.port, "service": service.port}) as proxy:
        for each in suspicious(gateway):
            ask(proxy.port, each)
    seen = service.routed()
    assert len(seen) > 2
    assert [text for routed in seen for text in oracle.violations(routed)] == []
