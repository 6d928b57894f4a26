"""Basic OP: logins that must succeed."""

from dataclasses import replace

from tests.conformance.openid.suite import USER, Suite
from tests.harness.browser import finish_login, walk_login

PERSONAL = {"name", "given_name", "family_name", "preferred_username", "email", "email_verified", "groups"}


def test_oidcc_server(suite: Suite) -> None:
    tokens = suite.log_in()
    assert tokens.header["alg"] == "RS256"
    assert tokens.header.keys() <= {"alg", "kid", "typ"}
    assert PERSONAL.isdisjoint(tokens.claims)
    assert PERSONAL.isdisjoint(suite.userinfo(tokens))
    assert tokens.body["expires_in"] > 0


def test_oidcc_server_client_secret_post(suite: Suite) -> None:
    suite.log_in(suite.post)


def test_oidcc_ensure_request_without_nonce_succeeds_for_code_flow(suite: Suite) -> None:
    assert "nonce" not in suite.log_in(nonce=None).claims


def test_request_without_state_has_none_in_the_response(suite: Suite) -> None:
    suite.log_in(state=None)


def test_oidcc_alternate_happy_flow(suite: Suite) -> None:
    """Scopes and parameters in another order."""
    request = suite.client.request(scope="email openid")
    reordered = dict(sorted(request.parameters.items(), reverse=True))
    assert list(reordered) != list(request.parameters)
    away = walk_login(suite.browser, suite.client.url_of(reordered), USER)
    suite.complete(request, away)


def test_oidcc_ensure_request_with_unknown_parameter_succeeds(suite: Suite) -> None:
    suite.log_in(extra="foobar")


def test_oidcc_ensure_post_request_succeeds(suite: Suite) -> None:
    request = suite.client.request()
    at = suite.browser.post(f"{suite.issuer}/authorize", request.parameters)
    suite.complete(request, finish_login(suite.browser, at, USER))


def test_post_request_is_answered_from_the_session(suite: Suite) -> None:
    """The POST of another site carries no cookie; the issuer must still see the session, and show no page."""
    first = suite.log_in()
    request = suite.client.request(prompt="none")
    away = suite.browser.post(f"{suite.issuer}/authorize", request.parameters)
    shown = len(suite.browser.shown)
    again = suite.complete(request, finish_login(suite.browser, away, USER))
    assert len(suite.browser.shown) == shown
    assert again.claims["sub"] == first.claims["sub"]


def test_oidcc_ensure_request_with_valid_pkce_succeeds(suite: Suite) -> None:
    suite.log_in(replace(suite.client, pkce=True))


def test_redirect_uri_keeps_a_query_of_its_own(suite: Suite) -> None:
    suite.log_in(suite.second)
