"""RP-initiated logout: `oidcc-rp-initiated-logout-certification-test-plan`."""

from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.conformance.openid.suite import LOGGED_OUT, Suite
from tests.harness.browser import Away
from tests.harness.html_page import Page


def end_session(suite: Suite, **parameters: str) -> Page | Away:
    url = suite.client.metadata()["end_session_endpoint"]
    return suite.browser.open(f"{url}?{urlencode(parameters)}" if parameters else url)


def logged_out_by_button(suite: Suite, page: Page | Away) -> Page:
    """The page after "log out?"; there is no redirect even now."""
    assert isinstance(page, Page), f"the browser was redirected: {page}"
    assert "logout" in page.forms, page
    done = suite.browser.submit(page, "logout", "log-out")
    assert isinstance(done, Page), f"the browser was redirected: {done}"
    assert "logged-out" in done.texts, done
    return done


def assert_logged_out(suite: Suite) -> None:
    assert suite.error(prompt="none") == "login_required"


def test_oidcc_rp_initiated_logout_discovery_endpoint_verification(suite: Suite) -> None:
    """The endpoint is https in the suite; here it is on loopback."""
    assert suite.client.metadata()["end_session_endpoint"] == f"{suite.issuer}/logout"


def test_oidcc_rp_initiated_logout(suite: Suite) -> None:
    state = "s" * 128
    hint = suite.log_in().id_token
    away = end_session(suite, id_token_hint=hint, post_logout_redirect_uri=LOGGED_OUT, state=state)
    assert away == Away(f"{LOGGED_OUT}?state={state}")
    assert_logged_out(suite)


def test_oidcc_rp_initiated_logout_no_state(suite: Suite) -> None:
    hint = suite.log_in().id_token
    assert end_session(suite, id_token_hint=hint, post_logout_redirect_uri=LOGGED_OUT) == Away(LOGGED_OUT)
    assert_logged_out(suite)


def test_oidcc_rp_initiated_logout_bad_post_logout_redirect_uri(suite: Suite) -> None:
    hint = suite.log_in().id_token
    page = end_session(suite, id_token_hint=hint, post_logout_redirect_uri="https://elsewhere.hr.example/", state="1")
    assert isinstance(page, Page), f"the browser was redirected: {page}"


def test_oidcc_rp_initiated_logout_query_added_to_post_logout_redirect_uri(suite: Suite) -> None:
    hint = suite.log_in().id_token
    page = end_session(suite, id_token_hint=hint, post_logout_redirect_uri=f"{LOGGED_OUT}?foo=bar", state="1")
    assert isinstance(page, Page), f"the browser was redirected: {page}"


def test_oidcc_rp_initiated_logout_modified_id_token_hint(suite: Suite) -> None:
    payload = suite.log_in().id_token.split(".")[1]
    header = urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    page = end_session(suite, id_token_hint=f"{header}.{payload}.", post_logout_redirect_uri=LOGGED_OUT, state="1")
    assert isinstance(page, Page), f"the browser was redirected: {page}"


def test_oidcc_rp_initiated_logout_bad_id_token_hint(suite: Suite) -> None:
    tokens = suite.log_in()
    key = RSAKey.generate_key(2048)
    forged = jwt.encode({"alg": "RS256", "kid": tokens.header["kid"]}, tokens.claims, key)
    page = end_session(suite, id_token_hint=forged, post_logout_redirect_uri=LOGGED_OUT, state="1")
    assert isinstance(page, Page), f"the browser was redirected: {page}"


def test_oidcc_rp_initiated_logout_no_id_token_hint(suite: Suite) -> None:
    suite.log_in()
    page = end_session(suite, post_logout_redirect_uri=LOGGED_OUT, state="1")
    assert isinstance(page, Page), f"the browser was redirected: {page}"


def test_oidcc_rp_initiated_logout_no_params(suite: Suite) -> None:
    suite.log_in()
    logged_out_by_button(suite, end_session(suite))
    assert_logged_out(suite)


def test_oidcc_rp_initiated_logout_only_state(suite: Suite) -> None:
    suite.log_in()
    logged_out_by_button(suite, end_session(suite, state="1"))
    assert_logged_out(suite)


def test_oidcc_rp_initiated_logout_no_post_logout_redirect_uri(suite: Suite) -> None:
    hint = suite.log_in().id_token
    page = end_session(suite, id_token_hint=hint)
    assert isinstance(page, Page), f"the browser was redirected: {page}"
    assert "logged-out" in page.texts, page
    assert_logged_out(suite)


@pytest.mark.parametrize(
    "parameters",
    [
        {"post_logout_redirect_uri": "https://elsewhere.hr.example/"},
        {"post_logout_redirect_uri": LOGGED_OUT},
        {"id_token_hint": "a.b.c", "post_logout_redirect_uri": LOGGED_OUT},
    ],
    ids=["unregistered", "without hint", "hint is no token"],
)
def test_bad_parameters_log_nobody_out(suite: Suite, parameters: dict[str, Any]) -> None:
    """A link on another site must not end the session without a question."""
    suite.log_in()
    end_session(suite, **parameters)
    suite.log_in_silently(prompt="none")
