"""The start of the operator: it ends where rights are missing, and retries while the API server is not available."""

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from scopewright.controller import operator
from scopewright.controller.operator import Operator
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from tests.harness.samples import ISSUER
from tests.unit.stores_kubernetes.fake_api import FakeApi

UNREACHABLE = Unavailable("away", retry_after=0.01)
FORBIDDEN = Rejected("Forbidden", "rights are missing")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def starting_operator(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket, *answers: Rejected | Unavailable
) -> Operator:
    """An operator whose preflight raises these errors, one each time, and then passes."""
    remaining = list(answers)

    async def preflight(*_: Any) -> None:
        if remaining:
            raise remaining.pop(0)

    monkeypatch.setattr(operator, "preflight", preflight)
    return Operator(FakeApi().as_api(), Config(issuer=ISSUER), listening)


async def test_a_missing_right_ends_the_operator_at_its_start(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    with pytest.raises(Rejected, match="rights are missing"):
        await starting_operator(monkeypatch, listening, FORBIDDEN).run()


async def test_a_refusal_after_an_outage_is_retried(monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> None:
    await asyncio.wait_for(starting_operator(monkeypatch, listening, UNREACHABLE, FORBIDDEN)._until_ready(), 10)


async def test_a_repeated_refusal_after_an_outage_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    monkeypatch.setattr(operator, "MAX_STARTUP_RETRIES", 1)
    with pytest.raises(Rejected):
        await starting_operator(monkeypatch, listening, UNREACHABLE, FORBIDDEN, FORBIDDEN).run()


async def test_liveness_is_reported_while_the_operator_waits_for_the_api_server(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    """A Pod whose issuer serves from its snapshot must not be restarted because the API server is unreachable."""
    starting = starting_operator(monkeypatch, listening, *[UNREACHABLE] * 10_000)
    running = asyncio.create_task(starting.run())
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == b"200"
    writer.close()
    starting.stop()
    await asyncio.wait_for(running, 10)
