"""Verifiers of several audiences share what is remote, and nothing that depends on the audience."""

import pytest

from scopewright.verifier import Nonces, Reason, TokenRejected, Verifier
from tests.harness.clock import Clock
from tests.unit.verifier.support import AUDIENCE, HOLDER, ISSUER, KEY, URL, FakeIssuer, bound_token, proof, token

LEAVE = "https://leave.hr.example"


def refusal_of(verifier: Verifier, sent: str) -> Reason | None:
    try:
        verifier.verify_sync(sent)
    except TokenRejected as refusal:
        return refusal.reason
    return None


def test_verifier_for_another_audience_shares_keys_and_revocations() -> None:
    web = FakeIssuer(KEY)
    payroll = Verifier(ISSUER, AUDIENCE, http=web.client(), clock=Clock(), revocations=True)
    leave = payroll.for_audience(LEAVE)
    payroll.ready_sync()
    asked = len(web.requests)
    leave.ready_sync()
    assert refusal_of(leave, token(aud=LEAVE)) is None
    assert refusal_of(payroll, token()) is None
    assert len(web.requests) == asked


def test_each_audience_accepts_its_own_tokens_only() -> None:
    payroll = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).client(), clock=Clock())
    leave = payroll.for_audience(LEAVE)
    ours, theirs = token(), token(aud=LEAVE)
    for _ in range(2):  # the second time from the caches
        assert refusal_of(payroll, ours) is None
        assert refusal_of(leave, theirs) is None
        assert refusal_of(leave, ours) is Reason.AUDIENCE
        assert refusal_of(payroll, theirs) is Reason.AUDIENCE
    assert leave.cached(ours) is None
    assert payroll.policy.audiences == (AUDIENCE,)


def test_verifier_for_another_audience_keeps_the_options_and_the_class() -> None:
    class Ours(Verifier):
        pass

    payroll = Ours(ISSUER, AUDIENCE, scopes="payroll.read", leeway=5, dpop_required=True, nonces=Nonces(b"k" * 32, "x"))
    leave = payroll.for_audience(LEAVE)
    assert type(leave) is Ours
    assert (leave.policy.scopes, leave.policy.leeway) == (payroll.policy.scopes, 5)
    assert leave.dpop_required
    assert leave.nonce() == payroll.nonce()


def test_verifier_for_another_audience_may_differ_in_whether_it_requires_dpop() -> None:
    payroll = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).client(), clock=Clock())
    leave = payroll.for_audience(LEAVE, dpop_required=True)
    assert (payroll.dpop_required, leave.dpop_required, leave.may_require_dpop) == (False, True, True)
    assert not leave.for_audience(AUDIENCE, dpop_required=False).dpop_required
    assert refusal_of(payroll, token()) is None
    assert refusal_of(leave, token(aud=LEAVE)) is Reason.PROOF_NEEDED
    sent = bound_token(aud=[AUDIENCE, LEAVE])
    used = proof(sent, HOLDER)
    assert leave.verify_sync(sent, proof=used, method="GET", url=URL).jkt
    with pytest.raises(TokenRejected) as caught:
        payroll.verify_sync(sent, proof=used, method="GET", url=URL)
    assert caught.value.reason is Reason.PROOF, "they share the used proofs"


def test_proof_that_one_audience_accepted_is_refused_by_the_others() -> None:
    payroll = Verifier(ISSUER, AUDIENCE, http=FakeIssuer(KEY).client(), clock=Clock())
    leave = payroll.for_audience(LEAVE)
    sent = bound_token(aud=[AUDIENCE, LEAVE])
    used = proof(sent, HOLDER)
    assert payroll.verify_sync(sent, proof=used, method="GET", url=URL).jkt
    with pytest.raises(TokenRejected) as caught:
        leave.verify_sync(sent, proof=used, method="GET", url=URL)
    assert caught.value.reason is Reason.PROOF


@pytest.mark.parametrize("audience", ["", "a\nb"])
def test_audience_that_no_token_can_have_is_refused(audience: str) -> None:
    with pytest.raises(ValueError, match="audience"):
        Verifier(ISSUER, AUDIENCE).for_audience(audience)
