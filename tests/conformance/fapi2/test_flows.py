"""Successful flows, and what is published."""

import secrets

import httpx
import pytest

from tests.conformance.fapi2.client import ALGORITHMS, refused
from tests.conformance.fapi2.suite import SALARIES, Suite
from tests.harness.browser import walk_login

PRIVATE: set[str] = {"d", "p", "q", "dp", "dq", "qi", "k"}
METADATA = ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")


@pytest.mark.parametrize("path", METADATA)
def test_discovery_end_point_verification(suite: Suite, path: str) -> None:
    metadata = httpx.get(suite.issuer + path).raise_for_status().json()
    assert metadata["issuer"] == suite.issuer
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    assert metadata["pushed_authorization_request_endpoint"] == f"{suite.issuer}/par"
    assert metadata["require_pushed_authorization_requests"] is True
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert "openid" in metadata["scopes_supported"]
    assert {"authorization_code", "refresh_token", "client_credentials"} <= set(metadata["grant_types_supported"])
    methods = [value for name, value in metadata.items() if name.endswith("_auth_methods_supported")]
    assert methods
    assert all(value == ["private_key_jwt"] for value in methods)
    algorithms = {name: value for name, value in metadata.items() if "_alg_values_" in name}
    assert {"token_endpoint_auth_signing_alg_values_supported", "dpop_signing_alg_values_supported"} <= set(algorithms)
    for name, value in algorithms.items():
        assert set(value) <= set(ALGORITHMS), name
        assert value, name
    assert "RS256" not in str(metadata)
    keys = httpx.get(metadata["jwks_uri"]).json()["keys"]
    assert keys
    assert not any(PRIVATE & key.keys() for key in keys)
    assert {key["alg"] for key in keys} <= set(ALGORITHMS)


async def test_happy_flow(suite: Suite) -> None:
    """TLS of the issuer's own listener: `tests/unit/http/test_tls_scan.py`."""
    for app in (suite.first, suite.second):
        request = app.request(state=secrets.token_hex(64), nonce=secrets.token_urlsafe(32))
        tokens = suite.tokens(request, app)
        token, client = tokens.access_token, app.client
        assert len(token) * 6 >= 128
        assert suite.metadata()["id_token_signing_alg_values_supported"] == [tokens.header["alg"]]
        for accept in ("application/json", "*/*", "text/html, application/json;q=0.9"):
            answer = await suite.call(token, client.proof("GET", SALARIES, token), Accept=accept)
            assert answer.status_code == 200, answer.text
        proof = {"DPoP": client.proof("GET", f"{SALARIES}", token)}
        in_query = await suite.ask(params={"access_token": token}, headers=proof)
        in_body = await suite.ask("POST", data={"access_token": token}, headers=proof)
        assert (in_query.status_code, in_body.status_code) == (401, 401), "only the header counts"
    answer = await suite.call(token, suite.first.client.proof("GET", SALARIES, token))
    assert refused(answer, "invalid_token", "invalid_dpop_proof"), "the first client's key with the second's token"


def test_user_rejects_authentication(suite: Suite) -> None:
    """With a user who has allowed neither application before: otherwise nothing is asked."""
    for app in (suite.first, suite.second):
        request = app.request()
        away = walk_login(suite.browser, app.url(app.request_uri(request)), "grace", "deny")
        assert app.party.error(request, away) == "access_denied"


async def test_ensure_authorization_request_without_state_success(suite: Suite) -> None:
    await suite.happy(state=None)


async def test_ensure_authorization_request_without_nonce_success(suite: Suite) -> None:
    tokens = await suite.happy(nonce=None)
    assert "nonce" not in tokens.claims


async def test_ensure_authorization_request_with_64_char_nonce_success(suite: Suite) -> None:
    await suite.happy(nonce=secrets.token_hex(32))


async def test_ensure_other_scope_order_succeeds(suite: Suite) -> None:
    await suite.happy(scope="payroll.read openid")


def test_claims_parameter_identity_claims(suite: Suite) -> None:
    """Skipped by the suite, because the parameter is not supported."""
    assert suite.metadata()["claims_parameter_supported"] is False


@pytest.mark.parametrize("scheme", ["DPoP", "dPoP", "dpop", "DPOP"])
async def test_access_token_type_header_case_sensitivity(suite: Suite, scheme: str) -> None:
    token = suite.tokens(suite.first.request()).access_token
    answer = await suite.call(token, suite.first.client.proof("GET", SALARIES, token), scheme)
    assert answer.status_code == 200, answer.text


async def test_par_without_duplicate_parameters(suite: Suite) -> None:
    url = suite.first.url(suite.first.request_uri(suite.first.request()))
    assert set(httpx.URL(url).params) == {"client_id", "request_uri"}
    await suite.happy()
