"""A service whose verifier introspects at this issuer, with the credential of its own OAuthClient."""

import pytest

from scopewright.client import ClientCredentials
from scopewright.verifier import KeysUnavailable, Reason, TokenRejected, Verifier
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import BANK_SERVICE, ISSUER, PAYROLL, PAYROLL_SERVICE, SECRET, client_record


def payroll_api(services: IssuerHarness, client_id: str = PAYROLL_SERVICE, secret: str = SECRET) -> Verifier:
    credentials = ClientCredentials(client_id=client_id, client_secret=secret, issuer=ISSUER, http=services.http)
    return Verifier(ISSUER, PAYROLL, http=services.http, clock=services.clock, introspection=credentials)


async def test_token_is_accepted_until_it_is_revoked(services: IssuerHarness) -> None:
    verifier = payroll_api(services)
    token = await services.access_token(resource=PAYROLL)
    verified = await verifier.verify(token, scopes="payroll.read")
    assert (verified.client_id, verified.audience) == ("leave.leave-worker", (PAYROLL,))
    assert verifier.cached(token) is verified

    await services.revoke(token)
    services.clock.advance(seconds=6)
    with pytest.raises(TokenRejected) as caught:
        await verifier.verify(token)
    assert caught.value.reason is Reason.REVOKED


async def test_token_of_a_disabled_client_is_refused(services: IssuerHarness) -> None:
    verifier = payroll_api(services)
    token = await services.access_token(resource=PAYROLL)
    services.put(client_record(disabled=True))
    await settle()
    with pytest.raises(TokenRejected) as caught:
        await verifier.verify(token)
    assert caught.value.reason is Reason.REVOKED


async def test_opaque_token_of_nobody_is_refused(services: IssuerHarness) -> None:
    with pytest.raises(TokenRejected) as caught:
        await payroll_api(services).verify("2YotnFZFEjr1zCsicMWpAA")
    assert caught.value.reason is Reason.REVOKED


async def test_service_that_is_not_the_api_accepts_no_token(services: IssuerHarness) -> None:
    token = await services.access_token(resource=PAYROLL)
    with pytest.raises(TokenRejected):
        await payroll_api(services, BANK_SERVICE).verify(token)


async def test_wrong_credential_of_the_service_is_unavailable_and_shows_no_secret(services: IssuerHarness) -> None:
    token = await services.access_token(resource=PAYROLL)
    with pytest.raises(KeysUnavailable) as caught:
        await payroll_api(services, secret="wrong" * 10).verify(token)
    assert "invalid_client" in caught.value.reason
    assert "wrong" * 10 not in str(caught.value)
    assert token not in str(caught.value)
