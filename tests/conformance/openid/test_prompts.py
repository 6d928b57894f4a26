"""Basic OP: when the user is asked, and when not. Most modules send two requests with the same session."""

import time

from tests.conformance.openid.suite import Suite


def test_oidcc_prompt_login(suite: Suite) -> None:
    first = suite.log_in()
    time.sleep(1.1)
    again = suite.log_in_again(prompt="login")
    assert again.claims["sub"] == first.claims["sub"]
    assert again.claims["auth_time"] > first.claims["auth_time"]


def test_oidcc_prompt_none_not_logged_in(suite: Suite) -> None:
    assert suite.error(prompt="none", state="s" * 128) == "login_required"


def test_oidcc_prompt_none_logged_in(suite: Suite) -> None:
    first = suite.log_in()
    again = suite.log_in_silently(prompt="none")
    assert again.claims["sub"] == first.claims["sub"]
    assert again.claims["auth_time"] == first.claims["auth_time"]


def test_oidcc_max_age_1(suite: Suite) -> None:
    first = suite.log_in()
    time.sleep(2)
    again = suite.log_in_again(max_age="1")
    assert again.claims["auth_time"] > first.claims["auth_time"]
    assert abs(again.claims["auth_time"] - time.time()) < 60


def test_oidcc_max_age_10000(suite: Suite) -> None:
    first = suite.log_in(max_age="15000")
    again = suite.log_in_silently(max_age="10000")
    assert again.claims["auth_time"] == first.claims["auth_time"]
    assert again.claims["sub"] == first.claims["sub"]


def test_oidcc_id_token_hint(suite: Suite) -> None:
    first = suite.log_in()
    again = suite.log_in_silently(prompt="none", id_token_hint=first.id_token)
    assert again.claims["sub"] == first.claims["sub"]


def test_prompt_none_with_another_parameter_value_is_refused(suite: Suite) -> None:
    """OpenID Connect Core §3.1.2.1: `none` with another value is an error."""
    assert suite.error(prompt="none login") == "invalid_request"
