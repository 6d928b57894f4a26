"""Before it begins: what the API server lacks is told, but not while it has only just come back."""

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

AWAY = Unavailable("away", retry_after=0.01)
LACKING = Rejected("Forbidden", "rights are missing")


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def beginning(monkeypatch: pytest.MonkeyPatch, listening: socket.socket, *answers: Rejected | Unavailable) -> Operator:
    """An operator whose preflight ends so, each time it is made, and then well."""
    left = list(answers)

    async def preflight(*_: Any) -> None:
        if left:
            raise left.pop(0)

    monkeypatch.setattr(operator, "preflight", preflight)
    return Operator(FakeApi().as_api(), Config(issuer=ISSUER), listening)


async def test_a_missing_right_ends_the_operator_at_its_start(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    with pytest.raises(Rejected, match="rights are missing"):
        await beginning(monkeypatch, listening, LACKING).run()


async def test_a_refusal_after_an_outage_is_retried(monkeypatch: pytest.MonkeyPatch, listening: socket.socket) -> None:
    await asyncio.wait_for(beginning(monkeypatch, listening, AWAY, LACKING)._ready_to_begin(), 10)


async def test_a_repeated_refusal_after_an_outage_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    monkeypatch.setattr(operator, "MAX_STARTUP_RETRIES", 1)
    with pytest.raises(Rejected):
        await beginning(monkeypatch, listening, AWAY, LACKING, LACKING).run()


async def test_liveness_is_reported_while_the_operator_waits_for_the_api_server(
    monkeypatch: pytest.MonkeyPatch, listening: socket.socket
) -> None:
    """A Pod whose issuer serves from its snapshot is not to be ended because the API server is away."""
    waiting = beginning(monkeypatch, listening, *[AWAY] * 10_000)
    running = asyncio.create_task(waiting.run())
    reader, writer = await asyncio.open_connection(*listening.getsockname())
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert (await asyncio.wait_for(reader.readline(), 10)).split()[1] == b"200"
    writer.close()
    waiting.stop()
    await asyncio.wait_for(running, 10)
