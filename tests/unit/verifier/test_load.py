"""No valid token is refused while the issuer rotates its keys, and while it is unreachable: for every integration."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from scopewright.verifier import Verifier
from tests.harness.clock import Clock
from tests.unit.verifier.integrations.aiohttp_server import in_thread
from tests.unit.verifier.integrations.service import bearer
from tests.unit.verifier.integrations.services import SERVICES
from tests.unit.verifier.load import Load, Send
from tests.unit.verifier.rpc import METHODS, SERVERS, serving
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, FakeIssuer


def http_service(name: str) -> Callable[[Verifier], AbstractContextManager[Send]]:
    @contextlib.contextmanager
    def service(verifier: Verifier) -> Iterator[Send]:
        with SERVICES[name](verifier) as running:
            yield lambda token: running.send("/salaries/7", bearer(token)).status == 200

    return service


def grpc_service(name: str) -> Callable[[Verifier], AbstractContextManager[Send]]:
    @contextlib.contextmanager
    def service(verifier: Verifier) -> Iterator[Send]:
        with in_thread() as run:
            server = serving(name, verifier)
            address = run(server.__aenter__())
            try:
                with grpc.insecure_channel(address) as channel:
                    method: Any = channel.unary_unary(METHODS[0])

                    def send(token: str) -> bool:
                        return bool(method(b"", metadata=[("authorization", f"Bearer {token}")], timeout=30))

                    yield send
            finally:
                run(server.__aexit__(None, None, None))

    return service


RUNNING = {name: http_service(name) for name in SERVICES} | {f"gRPC {name}": grpc_service(name) for name in SERVERS}


@pytest.mark.parametrize("name", RUNNING)
def test_no_valid_token_is_refused_in_a_rotation_and_an_outage(name: str, caplog: pytest.LogCaptureFixture) -> None:
    issuer, clock = FakeIssuer(KEY), Clock()
    verifier = Verifier(ISSUER, AUDIENCE, http=issuer.client(), clock=clock, revocations=True)
    with caplog.at_level(logging.ERROR), RUNNING[name](verifier) as send:
        load = Load(send, issuer, clock)
        load.run()
        print(f"{name}: {load.sent} requests, {load.fetches_in_outage} failed fetches in the outage")  # with -rP
        assert load.refused == []
        assert load.sent > 1000
        assert load.fetches_in_outage > 5
        with contextlib.suppress(grpc.RpcError):
            assert not send(load.token(KEY)), "of the key that was withdrawn"
    assert caplog.records == []
