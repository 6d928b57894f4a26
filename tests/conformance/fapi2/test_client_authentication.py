"""private_key_jwt at `/par` and `/token`: allowed algorithms, right times, and the issuer as audience."""

import time
from typing import Any

from tests.conformance.fapi2.client import refused
from tests.conformance.fapi2.suite import Suite

WRONG = ("invalid_client", "invalid_request")


def refused_everywhere(suite: Suite, *errors: str, algorithm: str = "", **changes: Any) -> None:
    """An assertion with these changes is refused at both endpoints. The code and the parameters are right."""
    client = suite.first.client
    request = suite.first.request()
    suite.push_refused(request, *errors, assertion=client.assertion(algorithm, **changes))
    code = suite.log_in(request)
    assert refused(suite.first.redeem(request, code, client.assertion(algorithm, **changes)), *errors)
    suite.redeemed(request, code)


def test_ensure_client_id_in_token_endpoint(suite: Suite) -> None:
    """The second client's id with the first one's key, for a code of either."""
    first, second = suite.first.client, suite.second.client
    request = suite.first.request()
    code = suite.log_in(request)
    forged = first.assertion(iss=second.client_id, sub=second.client_id)
    for assertion in (forged, first.assertion()):
        answer = suite.first.redeem(request, code, assertion, client_id=second.client_id)
        assert refused(answer, "invalid_client", "invalid_grant", "invalid_request")
        suite.push_refused(request, *WRONG, assertion=assertion, client_id=second.client_id)
    suite.redeemed(request, code)


def test_ensure_signed_client_assertion_with_rs256_fails(suite: Suite) -> None:
    assert suite.first.client.key.algorithm == "PS256", "the same key could sign with RS256"
    refused_everywhere(suite, "invalid_client", algorithm="RS256")


def test_ensure_client_assertion_in_token_endpoint(suite: Suite) -> None:
    request = suite.first.request()
    suite.push_refused(request, *WRONG, assertion="")
    suite.push_refused(request, *WRONG, assertion="", client_secret="secret")  # not one
    code = suite.log_in(request)
    assert refused(suite.first.redeem(request, code, ""), *WRONG)
    assert refused(suite.first.redeem(request, code, "", client_secret="secret"), *WRONG)  # not one
    suite.redeemed(request, code)


def test_ensure_client_assertion_with_exp_is_5_minutes_in_past_fails(suite: Suite) -> None:
    now = int(time.time())
    refused_everywhere(suite, "invalid_client", exp=now - 300, iat=now - 360)


def test_ensure_client_assertion_with_wrong_aud_fails(suite: Suite) -> None:
    for audience in ("https://other.example", f"{suite.issuer}/", None):
        refused_everywhere(suite, "invalid_client", aud=audience)


def test_ensure_client_assertion_with_no_sub_fails(suite: Suite) -> None:
    refused_everywhere(suite, "invalid_client", sub=None)


def test_par_ensure_jwt_client_assertions_nbf_8_seconds_in_the_future_is_accepted(suite: Suite) -> None:
    request = suite.first.request()
    response = suite.first.push(request, suite.first.client.assertion(nbf=int(time.time()) + 8))
    assert response.status_code == 201, response.text


def test_par_ensure_jwt_client_assertions_nbf_over_60_seconds_in_the_future_fails(suite: Suite) -> None:
    refused_everywhere(suite, "invalid_client", nbf=int(time.time()) + 90)


def test_par_test_array_as_audience_fails(suite: Suite) -> None:
    for audience in ([suite.issuer], [suite.issuer, "https://other.example"]):
        refused_everywhere(suite, "invalid_client", aud=audience)


def test_par_test_par_endpoint_url_as_audience_fails(suite: Suite) -> None:
    refused_everywhere(suite, "invalid_client", aud=f"{suite.issuer}/par")


def test_par_test_token_endpoint_url_as_audience_fails(suite: Suite) -> None:
    refused_everywhere(suite, "invalid_client", aud=f"{suite.issuer}/token")
