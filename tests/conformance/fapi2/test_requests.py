"""Authorization requests: what is pushed counts, and nothing else."""

import secrets

import httpx

from tests.conformance.fapi2.client import refused
from tests.conformance.fapi2.suite import USER, Suite
from tests.harness.browser import Away, finish_login, walk_login
from tests.harness.html_page import Page


def test_ensure_different_nonce_inside_and_outside_request_object(suite: Suite) -> None:
    """RFC 9126 §4: the parameters beside `request_uri` are ignored."""
    request = suite.first.request(nonce="pushed")
    url = suite.first.url(suite.first.request_uri(request), nonce="of-the-url")
    code = suite.first.party.code(request, walk_login(suite.browser, url, USER))
    assert suite.redeemed(request, code).claims["nonce"] == "pushed"


def test_ensure_different_state_inside_and_outside_request_object(suite: Suite) -> None:
    request = suite.first.request(state="pushed")
    url = suite.first.url(suite.first.request_uri(request), state="of-the-url")
    away = walk_login(suite.browser, url, USER)
    assert away.parameters["state"] == "pushed"
    suite.redeemed(request, suite.first.party.code(request, away))


async def test_ensure_authorization_request_with_long_nonce(suite: Suite) -> None:
    await suite.happy(nonce=secrets.token_hex(192))


async def test_ensure_authorization_request_with_long_state(suite: Suite) -> None:
    await suite.happy(state=secrets.token_hex(192))


def test_state_only_outside_request_object_not_used(suite: Suite) -> None:
    request = suite.first.request(state=None)
    url = suite.first.url(suite.first.request_uri(request), state="of-the-url")
    away = walk_login(suite.browser, url, USER)
    assert "state" not in away.parameters
    suite.redeemed(request, suite.first.party.code(request, away))


def test_ensure_request_object_without_redirect_uri_fails(suite: Suite) -> None:
    assert "redirect_uri" in suite.push_refused(suite.first.request(redirect_uri=None), "invalid_request")


def test_plain_fapi_tolerate_unregistered_redirect_uri(suite: Suite) -> None:
    for uri in ("https://suite.hr.example/other", "https://evil.example/", f"{suite.first.party.redirect_uri}?x=y"):
        request = suite.first.request(redirect_uri=uri)
        assert "redirect_uri" in suite.push_refused(request, "invalid_request", "invalid_redirect_uri")


def test_ensure_unsigned_authorization_request_without_using_par_fails(suite: Suite) -> None:
    request = suite.first.request()
    away = suite.browser.open(request.url)
    assert isinstance(away, Away), f"a page was shown: {away!r}"
    assert suite.first.party.error(request, away) == "invalid_request"
    assert "RFC 9126" in away.parameters["error_description"]
    login = walk_login(suite.browser, suite.first.url(suite.first.request_uri(request)), USER)
    suite.first.party.code(request, login)
    again = suite.browser.open(suite.first.request(prompt="none").url)
    assert isinstance(again, Away), "nor with a session"
    assert again.parameters["error"] == "invalid_request"


def test_ensure_redirect_uri_in_authorization_request(suite: Suite) -> None:
    """One beside `request_uri` is none."""
    suite.push_refused(suite.first.request(redirect_uri=None), "invalid_request")
    request = suite.first.request()
    url = suite.first.url(suite.first.request_uri(request), redirect_uri="https://evil.example/")
    suite.first.party.code(request, walk_login(suite.browser, url, USER))


def test_ensure_response_type_code_idtoken_fails(suite: Suite) -> None:
    suite.push_refused(suite.first.request(response_type="code id_token"), "unsupported_response_type")


def test_ensure_response_type_token_fails(suite: Suite) -> None:
    suite.push_refused(suite.first.request(response_type="token"), "unsupported_response_type")


def test_par_ensure_reused_request_uri_prior_to_auth_completion_succeeds(suite: Suite) -> None:
    request = suite.first.request()
    url = suite.first.url(suite.first.request_uri(request))
    first, second = suite.browser.open(url), suite.browser.open(url)
    assert isinstance(first, Page), first
    assert isinstance(second, Page), second
    suite.redeemed(request, suite.first.party.code(request, finish_login(suite.browser, second, USER)))


def test_par_attempt_reuse_request_uri(suite: Suite) -> None:
    request = suite.first.request()
    url = suite.first.url(suite.first.request_uri(request))
    suite.redeemed(request, suite.first.party.code(request, walk_login(suite.browser, url, USER)))
    suite.error_page(url, "answered already")


def test_par_attempt_to_use_request_uri_for_different_client(suite: Suite) -> None:
    request = suite.first.request()
    request_uri = suite.first.request_uri(request)
    suite.error_page(suite.second.url(request_uri), "another application")
    suite.first.party.code(request, walk_login(suite.browser, suite.first.url(request_uri), USER))


def test_par_authorization_request_containing_request_uri_form_param(suite: Suite) -> None:
    request = suite.first.request()
    request_uri = suite.first.request_uri(request)
    assert "request_uri" in suite.push_refused(request, "invalid_request", request_uri=request_uri)


def test_par_attempt_invalid_http_method(suite: Suite) -> None:
    request, client = suite.first.request(), suite.first.client
    form = request.parameters | {"client_assertion_type": "x", "client_assertion": client.assertion()}
    for method in ("PUT", "GET", "DELETE"):
        answer = httpx.request(method, f"{suite.issuer}/par", params=form)
        assert answer.status_code == 405, answer.text


def test_par_ensure_pkce_required(suite: Suite) -> None:
    request = suite.first.request(code_challenge=None, code_challenge_method=None)
    assert "code_challenge" in suite.push_refused(request, "invalid_request")


def test_par_plain_pkce_rejected(suite: Suite) -> None:
    for method in ("plain", None):
        request = suite.first.request(code_challenge="v" * 43, code_challenge_method=method)
        assert "S256" in suite.push_refused(request, "invalid_request")


def test_ensure_pkce_code_verifier_required(suite: Suite) -> None:
    request = suite.first.request()
    code = suite.log_in(request)
    assert refused(suite.first.redeem(request, code, code_verifier=None), "invalid_grant", "invalid_request")
    suite.redeemed(request, code)


def test_incorrect_pkce_code_verifier_rejected(suite: Suite) -> None:
    request = suite.first.request()
    code = suite.log_in(request)
    assert refused(suite.first.redeem(request, code, code_verifier="w" * 43), "invalid_grant")
    suite.redeemed(request, code)
