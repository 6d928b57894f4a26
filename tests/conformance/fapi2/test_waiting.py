"""Modules that wait. They are the last ones, because what they wait for began with the first one."""

from tests.conformance.fapi2.client import refused
from tests.conformance.fapi2.conftest import Aged
from tests.conformance.fapi2.suite import Suite


def test_ensure_token_endpoint_fails_with_expired_auth_code(suite: Suite, aged: Aged) -> None:
    aged.wait(62)
    assert refused(suite.first.redeem(aged.request, aged.code), "invalid_grant")


def test_par_attempt_to_use_expired_request_uri(suite: Suite, aged: Aged) -> None:
    aged.wait(suite.first.push(suite.first.request()).json()["expires_in"] + 1)
    suite.error_page(suite.first.url(aged.request_uri), "expired")
