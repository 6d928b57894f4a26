"""Assertions where the replay memory is that of the process: decided without a task, and as with a shared memory."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.issuer.protocol.responses import Answer, HttpRequest
from tests.harness.issuer import IssuerHarness, settle
from tests.unit.issuer.assertions import assertion, jwk, present, with_keys
from tests.unit.issuer.test_assertions import Counted, Slow


def http_of(token: str) -> HttpRequest:
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": token}
    headers = {b"content-type": b"application/x-www-form-urlencoded"}
    return HttpRequest("POST", "/token", headers=headers, body=urlencode(form).encode())


async def test_assertion_is_accepted_without_a_task_and_refused_with_one(harness: IssuerHarness) -> None:
    harness.put(with_keys(jwk(7)))
    await settle()
    request = http_of(assertion(harness, number=7))
    assert isinstance(harness.issuer.decide(request), Answer)
    replayed = harness.issuer.decide(request)
    assert not isinstance(replayed, Answer)
    assert (await replayed).status == 401
    assert json.loads(harness.audit_lines[-1])["reason"] == "assertion_replayed"


@pytest.mark.parametrize("is_local", [True, False])
async def test_assertion_is_verified_once_with_either_memory(is_local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = IssuerHarness() if is_local else IssuerHarness(replay=Slow(lambda: None))
    harness.install_defaults()
    harness.put(with_keys(jwk(7)))
    async with harness.running():
        counted = Counted(monkeypatch)
        for claims, status in (({}, 200), ({"aud": "https://other.example.org"}, 401), ({"sub": "leave.other"}, 401)):
            changes: dict[str, Any] = {**claims}
            assert (await present(harness, assertion(harness, number=7, **changes)))[0] == status
        forged = assertion(harness, number=8, header={"kid": jwk(7)["kid"]})
        assert (await present(harness, forged))[0] == 401
        assert counted.count == 3, "there is no client leave.other"


async def test_record_that_changes_after_a_refusal_is_used(harness: IssuerHarness) -> None:
    """The refusal was for the earlier record, so the key of the later one counts."""
    harness.put(with_keys(jwk(7)))
    await settle()
    answer = harness.issuer.decide(http_of(assertion(harness, number=8, header={})))
    assert not isinstance(answer, Answer)
    harness.put(with_keys(jwk(8)))
    await settle()
    assert (await answer).status == 200
