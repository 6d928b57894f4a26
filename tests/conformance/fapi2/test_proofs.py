"""DPoP: proofs at the three endpoints, and what a code is bound to."""

import time
from dataclasses import replace
from typing import Any

from tests.conformance.fapi2.client import ALGORITHMS, Client, refused
from tests.conformance.fapi2.suite import SALARIES, Application, Suite
from tests.conformance.fapi2.wrong_proofs import CHANGED, changed_proof, malformed_proofs


async def flow_with(suite: Suite, **proof: Any) -> None:
    """The whole flow, with these changes in each proof."""
    request = suite.first.request()
    code = suite.log_in(request, proof=proof)
    tokens = suite.first.party.checked(suite.first.redeem(request, code, proof=proof), request.parameters["nonce"])
    await suite.use(tokens, **proof)


async def test_check_dpop_proof_nbf_exp(suite: Suite) -> None:
    now = int(time.time())
    await flow_with(suite, nbf=now, exp=now + 60)


async def test_ensure_dpopproof_with_iat_10seconds_before_succeeds(suite: Suite) -> None:
    await flow_with(suite, iat=int(time.time()) - 10)


async def test_ensure_dpopproof_with_iat_10seconds_after_succeeds(suite: Suite) -> None:
    await flow_with(suite, iat=int(time.time()) + 10)


def holding_another_key(app: Application, other: Client) -> Application:
    """The same client, which proves another key."""
    return replace(app, client=replace(app.client, holder=other.holder))


def test_ensure_mismatched_dpop_jkt_fails(suite: Suite) -> None:
    another = suite.second.client.holder.thumbprint
    suite.push_refused(suite.first.request(), "invalid_request", "invalid_dpop_proof", dpop_jkt=another)


def test_ensure_token_endpoint_fails_with_mismatched_dpop_proof_jkt(suite: Suite) -> None:
    request = suite.first.request()
    code = suite.log_in(request)
    thief = holding_another_key(suite.first, suite.second.client)
    assert refused(thief.redeem(request, code), "invalid_grant", "invalid_dpop_proof")
    suite.redeemed(request, code)


def test_ensure_token_endpoint_fails_with_mismatched_dpop_jkt(suite: Suite) -> None:
    app = suite.second
    assert app.jkt_alone
    request = app.request()
    code = suite.log_in(request, app)
    thief = holding_another_key(app, suite.first.client)
    assert refused(thief.redeem(request, code), "invalid_grant", "invalid_dpop_proof")
    suite.redeemed(request, code, app)


async def test_ensure_dpopproof_at_par_endpoint_binding_success(suite: Suite) -> None:
    await suite.happy()


async def test_ensure_dpop_auth_code_binding_success(suite: Suite) -> None:
    request = suite.first.request()
    tokens = suite.tokens(request, dpop_jkt=suite.first.client.holder.thumbprint)
    await suite.use(tokens)


async def test_ensure_holder_of_key_required(suite: Suite) -> None:
    """TLS of the issuer's own listener: `tests/unit/http/test_tls_scan.py`."""
    request = suite.first.request()
    code = suite.log_in(request, bound=False)
    unbound = suite.first.redeem(request, code, bound=False)
    assert refused(unbound, "invalid_request", "invalid_dpop_proof", "invalid_grant")
    token = suite.redeemed(request, code).access_token
    assert refused(await suite.call(token, None), "invalid_token", "invalid_dpop_proof")
    assert refused(await suite.call(token, None, "Bearer"), "invalid_token")
    bearer = suite.first.party.userinfo(token)
    assert refused(bearer, "invalid_token")


async def test_dpop_negative_tests(suite: Suite) -> None:
    client = suite.first.client
    token = suite.tokens(suite.first.request()).access_token
    for what in CHANGED:
        wrong = changed_proof(what, client, suite.second.client, "GET", SALARIES, token)
        answer = await suite.call(token, wrong)
        assert refused(answer, "invalid_dpop_proof", "invalid_token"), (what, answer.text)
        assert f'algs="{" ".join(ALGORITHMS)}"' in answer.headers["www-authenticate"], what
    good = client.proof("GET", SALARIES, token)
    for proof in malformed_proofs(client, good):
        assert refused(await suite.call(token, proof), "invalid_dpop_proof", "invalid_token"), proof
    assert (await suite.call(token, good)).status_code == 200
    assert refused(await suite.call(token, good), "invalid_dpop_proof"), "the proof was used"
