"""The resync of the operator continues where one of its parts fails."""

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from scopewright.controller.operator import Operator
from scopewright.core.config import Config
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from tests.harness.samples import ISSUER
from tests.unit.stores_kubernetes.fake_api import FakeApi

WORKER = Ref("OAuthClient", "leave", "worker")


@pytest.fixture
def operator() -> Iterator[Operator]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Operator(FakeApi().as_api(), Config(issuer=ISSUER), listening)


@pytest.mark.parametrize("failure", [Rejected("Forbidden", "cannot list leases"), Unavailable("away")])
async def test_a_resync_runs_without_the_right_to_list_other_installations(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, failure: Exception
) -> None:
    """Unserved objects are not reported meanwhile: the operator does not know which issuers are served."""
    caplog.set_level(logging.INFO)
    fails, reported = True, 0

    async def check_claims() -> None:
        if fails:
            raise failure

    async def run() -> set[Ref]:
        return {WORKER}

    async def report() -> None:
        nonlocal reported
        reported += 1

    monkeypatch.setattr(operator._lease, "check_claims", check_claims)
    monkeypatch.setattr(operator._leader.resync, "run", run)
    monkeypatch.setattr(operator._leader._unserved, "report", report)
    foreign: Any = object()
    operator._leader._unserved._pending = {WORKER: (foreign, {})}
    assert [WORKER in await operator._leader._resync() for _ in range(2)] == [True, True]
    assert (reported, operator._leader._unserved._pending) == (0, {})
    fails = False
    assert WORKER in await operator._leader._resync()
    assert reported == 1
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == [
        "other installations are not known, reconciling nevertheless",
        "other installations are known again",
    ]
