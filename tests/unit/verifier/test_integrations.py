"""The table of attacks against every integration: nothing passes, and a refusal is no error in any log."""

import logging
from collections.abc import Iterator

import pytest

from scopewright.verifier import Verifier
from scopewright.verifier.refusals import code_of
from tests.cases.attacks import Attack, Forge, attacks
from tests.harness.clock import Clock
from tests.unit.verifier.integrations import INTEGRATIONS, Integration, Outcome
from tests.unit.verifier.support import AUDIENCE, ISSUER, KEY, NOW, FakeIssuer, bound_token, claims, feed, token

ATTACKS = attacks(Forge(KEY, claims(), int(NOW)))
LARGEST = 7000
"""Servers accept 8 KB of headers at least. Longer tokens are refused by some servers, and by the verifier elsewhere."""


@pytest.fixture(params=INTEGRATIONS)
def integration(request: pytest.FixtureRequest) -> Integration:
    return INTEGRATIONS[request.param]


@pytest.fixture(autouse=True)
def no_errors(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    with caplog.at_level(logging.INFO):
        yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert "Traceback" not in capfd.readouterr().err


def verifier_of(integration: Integration, issuer: FakeIssuer, *, revocations: bool = False) -> Verifier:
    return Verifier(ISSUER, AUDIENCE, http=integration.http(issuer), clock=Clock(), revocations=revocations)


def can_be_sent(text: str) -> bool:
    """Whether a header can have this value: not a line, nor white space at its ends (RFC 9110 §5.5)."""
    return text == text.strip(" \t\r\n") and not set(text) & set("\r\n\0") and len(text) < 100_000


def is_refused(outcome: Outcome, attack: Attack) -> bool:
    if not (attack.token.isascii() and attack.token.isprintable()) or len(attack.token) > LARGEST:
        return not outcome.reached and (outcome.status is None or 400 <= outcome.status < 500)
    status, error = code_of(attack.reason)
    challenge = f'Bearer error="{error}"' if attack.token else "Bearer"  # an empty token is none
    return not outcome.reached and outcome.status == status and outcome.challenge.startswith(challenge)


async def test_every_attack_is_refused_for_its_reason(integration: Integration) -> None:
    sent = [attack for attack in ATTACKS if can_be_sent(attack.token)]
    assert len(sent) > 370
    async with integration.serving(verifier_of(integration, FakeIssuer(KEY))) as send:
        assert (await send(f"Bearer {token()}")).reached, "and is cached"
        found = {attack.name: await send(f"Bearer {attack.token}") for attack in sent}
        assert {a.name: (a.reason, found[a.name]) for a in sent if not is_refused(found[a.name], a)} == {}
        assert (await send(f"Bearer {token()}")).reached


async def test_request_without_one_valid_bearer_token_is_refused(integration: Integration) -> None:
    good = f"Bearer {token()}"
    async with integration.serving(verifier_of(integration, FakeIssuer(KEY))) as send:
        assert await send() == Outcome(401, "Bearer")
        for value in ("", "Bearer", "Basic eDp5", token(), f"DPoP {token()}", f"Bearer{token()}"):
            assert await send(value) == Outcome(401, "Bearer"), value
        for first, second in ((good, good), (good, "Basic eDp5"), ("Basic eDp5", good), (good, "")):
            outcome = await send(first, second)
            assert (outcome.status, outcome.reached) == (400, False), (first, second)
            assert outcome.challenge.startswith('Bearer error="invalid_request"')
        for wrong in (f"Bearer {bound_token()}", f"{good}, {good}", f"{good} {token()}"):
            outcome = await send(wrong)
            assert (outcome.status, outcome.reached) == (401, False), wrong
            assert outcome.challenge.startswith('Bearer error="invalid_token"')


async def test_token_without_the_scope_is_refused_and_the_scope_is_named(integration: Integration) -> None:
    async with integration.serving(verifier_of(integration, FakeIssuer(KEY))) as send:
        outcome = await send(f"Bearer {token(scope='leave.read')}")
        assert (outcome.status, outcome.reached) == (403, False)
        assert outcome.challenge.startswith('Bearer error="insufficient_scope"')
        assert outcome.challenge.endswith('scope="payroll.read"')


async def test_revoked_token_is_refused(integration: Integration) -> None:
    issuer = FakeIssuer(KEY)
    issuer.feed = feed(everybody=int(NOW))
    async with integration.serving(verifier_of(integration, issuer, revocations=True)) as send:
        outcome = await send(f"Bearer {token()}")
        assert (outcome.status, outcome.reached, "revoked" in outcome.challenge) == (401, False, True)


async def test_token_is_refused_for_now_if_the_issuer_cannot_be_reached(integration: Integration) -> None:
    issuer = FakeIssuer(KEY)
    issuer.unavailable = True
    async with integration.serving(verifier_of(integration, issuer)) as send:
        outcome = await send(f"Bearer {token()}")
        assert (outcome.status, outcome.challenge, outcome.reached) == (503, "", False)
        assert outcome.retry in ("1", "1000")
        assert (await send()).status == 401, "no token needs no keys"
