"""The stop of the operator: the leader ends its term, whatever the other tasks do meanwhile."""

import asyncio
import socket
from typing import Any

import pytest

from scopewright.controller import operator
from scopewright.controller.operator import Operator
from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from tests.harness.samples import ISSUER
from tests.unit.stores_kubernetes.fake_api import FakeApi


@pytest.mark.parametrize("stops", [True, False])
async def test_leader_ends_its_term_although_the_watch_fails(monkeypatch: pytest.MonkeyPatch, stops: bool) -> None:
    """The watch fails while the leader ends its term because of `stop`, or before that."""
    leading, ended = asyncio.Event(), asyncio.Event()

    async def done(*_: Any) -> None: ...

    async def endless(*_: Any) -> None:
        await asyncio.Event().wait()

    async def lead(stop: asyncio.Event) -> None:
        leading.set()
        try:
            await stop.wait()
        finally:
            await asyncio.sleep(0.05)
            ended.set()

    async def watch(*_: Any) -> None:
        await leading.wait()
        if stops:
            replica.stop()
            await asyncio.sleep(0.01)
        raise Unavailable("the watch failed")

    monkeypatch.setattr(operator, "preflight", done)
    monkeypatch.setattr(operator, "watch", watch)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        replica = Operator(FakeApi().as_api(), Config(issuer=ISSUER), listening)
        monkeypatch.setattr(replica._leader.handlers, "complete", done)
        monkeypatch.setattr(replica._leader.handlers, "follow", endless)
        monkeypatch.setattr(replica._lease, "campaign", done)
        monkeypatch.setattr(replica._leader, "lead", lead)
        with pytest.raises(Unavailable, match="the watch failed"):
            await asyncio.wait_for(replica.run(), 10)
    assert ended.is_set()
