"""What the examples promise beside decisions: answers of 503, connections that are kept, websockets."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.gateway.apis import Service
from tests.gateway.gateway import Gateway
from tests.gateway.proxies import WITH_GATEWAY, Proxy, ProxyKind
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
