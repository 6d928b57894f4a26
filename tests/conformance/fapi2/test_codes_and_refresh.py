"""Codes are redeemed once, within a minute, by their client; refresh tokens belong to a client and a key."""

import time
from dataclasses import replace

import httpx

from tests.conformance.fapi2.client import refused
from tests.conformance.fapi2.suite import Application, Suite


def test_ensure_authorization_code_is_bound_to_client(suite: Suite) -> None:
    request = suite.first.request()
    code = suite.log_in(request)
    stolen = suite.second.redeem(request, code, redirect_uri=suite.first.party.redirect_uri)
    assert refused(stolen, "invalid_grant")
    suite.redeemed(request, code)


def userinfo(suite: Suite, app: Application, token: str) -> httpx.Response:
    url = suite.metadata()["userinfo_endpoint"]
    headers = {"Authorization": f"DPoP {token}", "DPoP": app.client.proof("GET", url, token)}
    return httpx.get(url, headers=headers)


def test_attempt_reuse_authorization_code_after_one_second(suite: Suite) -> None:
    app = suite.first
    request = app.request(scope="openid")
    code = suite.log_in(request)
    tokens = suite.redeemed(request, code)
    assert userinfo(suite, app, tokens.access_token).json()["sub"] == tokens.claims["sub"]
    time.sleep(1)
    assert refused(app.redeem(request, code), "invalid_grant")
    assert refused(userinfo(suite, app, tokens.access_token), "invalid_token"), "the access token has ended"
    assert refused(app.refresh(tokens.refresh_token), "invalid_grant")


async def test_refresh_token(suite: Suite) -> None:
    """It does not rotate (FAPI 2.0 §5.3.2.1), and needs the client's authentication and a proof of the key that the
    code was bound to.
    """
    for app, other in ((suite.first, suite.second), (suite.second, suite.first)):
        first = suite.tokens(app.request(), app)
        for _ in range(2):
            refreshed = app.party.refreshed(first, app.refresh(first.refresh_token))
            assert refreshed.body.get("refresh_token", first.refresh_token) == first.refresh_token
            assert refreshed.access_token != first.access_token
            await suite.use(refreshed, app)
        unauthenticated = app.refresh(first.refresh_token, "")
        assert refused(unauthenticated, "invalid_client", "invalid_request")
        forged = other.client.assertion(iss=app.client_id, sub=app.client_id)
        assert refused(app.refresh(first.refresh_token, forged), "invalid_client")
        assert refused(other.refresh(first.refresh_token), "invalid_grant")
        assert refused(app.refresh(first.refresh_token, bound=False), "invalid_grant", "invalid_dpop_proof")
        thief = replace(app, client=replace(app.client, holder=other.client.holder))
        assert refused(thief.refresh(first.refresh_token), "invalid_grant", "invalid_dpop_proof")
        app.party.refreshed(first, app.refresh(first.refresh_token))
