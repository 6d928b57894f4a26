"""What the examples promise beside decisions: answers of 503, connections that are kept, websockets."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from scopewright.client.dpop import Prover
from tests.gateway.apis import Service
from tests.gateway.gateway import Gateway
from tests.gateway.proxies import ENVOY, HOST, WITH_GATEWAY, Proxy, ProxyKind
from tests.gateway.relay import Relay
from tests.gateway.websocket_service import WebsocketService
from tests.gateway.wire import Connection, ask, bearer, request

pytestmark = pytest.mark.parametrize("kind", WITH_GATEWAY, ids=lambda kind: kind.name)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service("starlette", tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


def test_without_the_gateway_every_request_is_answered_with_503(
    stack: ExitStack, gateway: Gateway, service: Service, kind: ProxyKind, tmp_path: Path
) -> None:
    relay = stack.enter_context(Relay(gateway.port))
    ports = {"gateway": relay.port, "service": service.port}
    proxy = stack.enter_context(Proxy(kind, tmp_path / "proxy", ports))
    reader = bearer(gateway.tokens["reader"])
    answer = ask(proxy.port, request("GET", "/salaries/7", reader))
    assert answer is not None
    assert answer.status == 200
    relay.cut()
    service.routed()
    for path in ("/salaries/7", "/healthz", "/admin/x"):
        answer = ask(proxy.port, request("GET", path, reader))
        assert answer is not None
        assert answer.status == 503
        assert answer.values("retry-after") == ([] if kind is ENVOY else ["1"])
    assert service.routed() == []


def test_connections_to_the_gateway_are_kept(
    stack: ExitStack, gateway: Gateway, service: Service, kind: ProxyKind, tmp_path: Path
) -> None:
    relay = stack.enter_context(Relay(gateway.port))
    ports = {"gateway": relay.port, "service": service.port}
    proxy = stack.enter_context(Proxy(kind, tmp_path / "proxy", ports))
    for _ in range(50):
        answer = ask(proxy.port, request("GET", "/salaries/7", bearer(gateway.tokens["reader"])))
        assert answer is not None
        assert answer.status == 200
    assert relay.connections <= 5


def test_an_allowed_websocket_is_a_tunnel_to_the_service(
    stack: ExitStack, gateway: Gateway, kind: ProxyKind, tmp_path: Path
) -> None:
    websockets = stack.enter_context(WebsocketService())
    ports = {"gateway": gateway.port, "service": websockets.port}
    proxy = stack.enter_context(Proxy(kind, tmp_path / "proxy", ports))
    handshake = (
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("X-Auth-Subject", "root"),
    )
    refused = ask(proxy.port, request("GET", "/salaries/7", *handshake))
    assert refused is not None
    assert refused.status == 401
    assert websockets.handshakes == []
    connection = stack.enter_context(Connection(proxy.port))
    connection.send(request("GET", "/salaries/7", *handshake, bearer(gateway.tokens["reader"])))
    accepted = connection.receive()
    assert accepted is not None
    assert accepted.status == 101
    connection.send(b"\x81\x02hi")
    assert connection.read(4) == b"\x81\x02hi"
    (seen,) = websockets.handshakes
    assert "root" not in seen
    assert "x-auth-client: payroll.reader" in seen.lower()


def test_a_token_that_is_bound_to_a_key_needs_a_new_proof_for_each_request(
    stack: ExitStack, gateway: Gateway, service: Service, kind: ProxyKind, tmp_path: Path
) -> None:
    """The proof is for the URL that the caller used: https and the pinned hostname, not the address of the proxy."""
    ports = {"gateway": gateway.port, "service": service.port}
    proxy = stack.enter_context(Proxy(kind, tmp_path / "proxy", ports))
    prover = Prover()
    token = gateway.bound_token(prover)
    authorization = ("Authorization", f"DPoP {token}")

    def proof(path: str, method: str = "GET") -> tuple[str, str]:
        return ("DPoP", prover.proof(method, httpx.URL(f"https://{HOST}{path}"), time.time(), token))

    def status(*headers: tuple[str, str]) -> int:
        answer = ask(proxy.port, request("GET", "/salaries/7?year=2026", *headers))
        assert answer is not None
        return answer.status

    service.routed()
    once = proof("/salaries/7")
    assert status(authorization, once) == 200
    (seen,) = service.routed()
    assert (seen.values("authorization"), seen.values("dpop")) == ([f"DPoP {token}"], [once[1]])
    refused = (
        (authorization, once),
        (authorization,),
        (("Authorization", f"Bearer {token}"),),
        (authorization, proof("/salaries/8")),
        (authorization, proof("/salaries/7", "PUT")),
        (authorization, proof("/salaries/7"), proof("/salaries/7")),
        (authorization, ("DPoP", Prover().proof("GET", httpx.URL(f"https://{HOST}/salaries/7"), time.time(), token))),
    )
    assert [status(*headers) in (400, 401, 403) for headers in refused] == [True] * len(refused)
    assert service.routed() == []
