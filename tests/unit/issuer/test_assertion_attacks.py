"""The table of attacks on JWTs, as client assertions: all are refused, without details."""

import pytest

from tests.cases.attacks import Attack, Forge, attacks
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER
from tests.unit.issuer.assertions import WORKER, present, with_keys
from tests.unit.verifier.support import SigningKey, b64

KEY = SigningKey("key-1")
NOW = int(START.timestamp())
FORGE = Forge(
    KEY,
    {"iss": WORKER, "sub": WORKER, "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": "1"},
    NOW,
    typ="jwt",
    wrong_types=("at+jwt", "dpop+jwt", "logout+jwt", "jwt ", 1, ["jwt"]),
)
ACCEPTED_HERE = {"kid None"}
"""A client with one key need not name it."""
GENERIC = "client authentication failed: unknown client, or its credential is wrong, expired or disabled"


@pytest.fixture
async def holder(harness: IssuerHarness) -> IssuerHarness:
    harness.put(with_keys(KEY.jwk))
    await settle()
    return harness


async def test_assertion_without_an_attack_is_accepted(holder: IssuerHarness) -> None:
    assert (await present(holder, FORGE.token()))[0] == 200


@pytest.mark.parametrize("attack", attacks(FORGE), ids=lambda attack: attack.name)
async def test_every_attack_is_refused(holder: IssuerHarness, attack: Attack) -> None:
    status, body = await present(holder, attack.token)
    if attack.name in ACCEPTED_HERE:
        assert status == 200
    else:
        assert status in (400, 401, 413), body
        assert body["error"] in ("invalid_client", "invalid_request")


@pytest.mark.parametrize("header", [{}, {"crit": ["x"], "x": 1}, {"b64": False}, {"typ": "at+jwt"}, {"alg": "none"}])
async def test_unsigned_assertion_does_not_show_whether_the_client_exists(
    holder: IssuerHarness, header: dict[str, object]
) -> None:
    """Rule 6 of protocol.md: an existing and an unknown client get the same response."""
    halves = FORGE.halves(**header)
    unsigned = f"{halves}.{b64(bytes(64))}"
    other = Forge(KEY, {**FORGE.claims, "iss": "leave.unknown", "sub": "leave.unknown"}, NOW, typ="jwt")
    of_unknown = f"{other.halves(**header)}.{b64(bytes(64))}"
    answers = [await present(holder, token) for token in (unsigned, of_unknown)]
    assert answers[0] == answers[1]
    assert answers[0][1]["error_description"] == GENERIC
