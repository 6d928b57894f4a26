"""Tokens by assertions, beside an issuer that computes each of them: both must answer alike."""

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.http import HttpRequest
from scopewright.issuer.endpoints.handler import Outcome
from scopewright.issuer.endpoints.token import TokenEndpoint
from scopewright.issuer.protocol.request import JWT_BEARER
from scopewright.serving.replay import LocalReplay
from tests.harness.clock import Clock
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import api_record
from tests.unit.issuer.assertions import assertion, generated_credential
from tests.unit.issuer.test_recognised import (
    BANKING,
    BOTH,
    CHANGES,
    GRANT,
    PAY,
    Step,
    Twins,
    post,
    put_client,
)

PAIR: dict[str, Any] = {"method": "PrivateKeyJWT", "access": BOTH}
OWN = (generated_credential(),)
OTHER = (generated_credential(8),)
FORMS = [GRANT, PAY, BANKING, f"{PAY}&scope=payroll.write", f"{BANKING}&scope=bank.pay"]
STEPS: list[Step] = [
    *CHANGES[11:],
    put_client(**PAIR, credentials=OWN),
    put_client(**PAIR, credentials=OTHER),
    put_client(**PAIR, credentials=OWN + OTHER),
    put_client(method="PrivateKeyJWT", credentials=OWN, access=BOTH[1:]),
    put_client(**PAIR, credentials=OWN, dpop_required=True),
    put_client(**PAIR, credentials=OWN, disabled=True),
]


class Distant:
    """As a replay memory of several processes: its answer comes later."""

    def __init__(self, clock: Clock) -> None:
        self._memory = LocalReplay(clock)

    async def first_use(self, owner: str, value: str, until: float) -> bool:
        await asyncio.sleep(0)
        return await self._memory.first_use(owner, value, until)

    async def close(self) -> None:
        pass


def request(issuer: IssuerHarness, parameters: str) -> HttpRequest:
    proof = {"client_assertion_type": JWT_BEARER, "client_assertion": assertion(issuer)}
    return post(f"{parameters}&{urlencode(proof)}")


def issuer_with_pair(*, is_local: bool) -> IssuerHarness:
    clock = Clock()
    issuer = IssuerHarness(clock=clock, replay=None if is_local else Distant(clock))
    issuer.install_defaults()
    issuer.put(api_record("bank", "bank.pay"))
    put_client(**PAIR, credentials=OWN)(issuer)
    return issuer


async def play(history: list[str | Step], *, is_local: bool) -> None:
    twins = Twins(issuer_with_pair(is_local=is_local), issuer_with_pair(is_local=is_local))
    async with twins.fast.running(), twins.slow.running():
        for step in history:
            if isinstance(step, str):
                await twins.send(request(twins.fast, step))
                continue
            for issuer in (twins.fast, twins.slow):
                step(issuer)
            await settle()


@given(st.lists(st.one_of(st.sampled_from(FORMS), st.sampled_from(STEPS)), min_size=2, max_size=30), st.booleans())
@settings(max_examples=40, deadline=None)
def test_tokens_are_those_of_an_issuer_that_computes_each(history: list[str | Step], is_local: bool) -> None:
    asyncio.run(play(history, is_local=is_local))


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("change", STEPS)
def test_a_change_is_in_the_next_token(change: Step, is_local: bool) -> None:
    asyncio.run(play([GRANT, PAY, PAY, change, PAY, GRANT, BANKING, PAY], is_local=is_local))


@pytest.mark.parametrize("is_local", [True, False])
async def test_equal_requests_repeat_the_first(is_local: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    again = 0
    real = TokenEndpoint._issue_again

    def count(*arguments: Any) -> Outcome:
        nonlocal again
        again += 1
        return real(*arguments)

    monkeypatch.setattr(TokenEndpoint, "_issue_again", count)
    issuer = issuer_with_pair(is_local=is_local)
    async with issuer.running():
        for parameters in (PAY, PAY, BANKING, PAY, BANKING):
            decided = issuer.issuer.decide(request(issuer, parameters))
            answer = decided if is_local else await decided  # type: ignore[misc]
            assert answer.status == 200  # type: ignore[union-attr]
    assert again == 3
