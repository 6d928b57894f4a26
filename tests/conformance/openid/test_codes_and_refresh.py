"""Basic OP: codes are redeemed once, and refresh tokens belong to one client."""

import time

from tests.conformance.openid.suite import USER, Suite
from tests.harness.browser import walk_login
from tests.harness.login_issuer import LoginIssuer


def test_oidcc_codereuse(suite: Suite) -> None:
    request = suite.client.request()
    away = walk_login(suite.browser, request.url, USER)
    suite.complete(request, away)
    again = suite.client.redeem(request, away.parameters["code"])
    assert again.status_code == 400
    assert again.headers["Content-Type"].startswith("application/json")
    assert again.json()["error"] == "invalid_grant"


def test_oidcc_codereuse_30seconds(suite: Suite) -> None:
    request = suite.client.request()
    away = walk_login(suite.browser, request.url, USER)
    tokens = suite.complete(request, away)
    time.sleep(30)
    again = suite.client.redeem(request, away.parameters["code"])
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    userinfo = suite.client.userinfo(tokens.access_token)
    assert userinfo.status_code == 401
    assert 'error="invalid_token"' in userinfo.headers["WWW-Authenticate"]


def test_code_of_another_client_is_refused_and_stays_valid(suite: Suite) -> None:
    request = suite.client.request()
    away = walk_login(suite.browser, request.url, USER)
    stolen = suite.second.redeem(request, away.parameters["code"], redirect_uri=suite.client.redirect_uri)
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    suite.complete(request, away)


def test_dev_prints_the_reason_that_invalid_grant_hides(suite: Suite, provider: LoginIssuer) -> None:
    request = suite.client.request()
    away = walk_login(suite.browser, request.url, USER)
    refused = suite.client.redeem(request, away.parameters["code"], redirect_uri=f"{suite.client.redirect_uri}/")
    assert refused.json()["error"] == "invalid_grant"
    assert 'login refused: reason "redirect_uri", client "hr.suite": it is not the redirect_uri' in provider.printed()
    assert away.parameters["code"] not in provider.printed()


def test_oidcc_refresh_token(suite: Suite) -> None:
    metadata = suite.client.metadata()
    assert "refresh_token" in metadata["grant_types_supported"]
    assert "offline_access" in metadata["scopes_supported"]
    first = suite.log_in(scope="openid offline_access", prompt="consent")
    refreshed = suite.client.refreshed(first, suite.client.refresh(first.refresh_token))
    assert refreshed.access_token != first.access_token
    assert suite.userinfo(refreshed)["sub"] == first.claims["sub"]
    stolen = suite.second.refresh(first.refresh_token)
    assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
    suite.client.refreshed(first, suite.client.refresh(first.refresh_token))


def test_second_client_gets_a_refresh_token_of_its_own(suite: Suite) -> None:
    first = suite.log_in()
    second = suite.log_in(suite.second)
    assert second.refresh_token != first.refresh_token
    suite.second.refreshed(second, suite.second.refresh(second.refresh_token))
