"""Config OP: `oidcc-config-certification-test-plan`."""

import httpx

from tests.conformance.openid.suite import Suite

ENDPOINTS = (
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "revocation_endpoint",
    "introspection_endpoint",
    "end_session_endpoint",
)


def test_oidcc_discovery_endpoint_verification(suite: Suite) -> None:
    """Endpoints are https in the suite; here they are on loopback."""
    metadata = suite.client.metadata()
    assert metadata["issuer"] == suite.issuer
    for endpoint in ENDPOINTS:
        assert metadata[endpoint].startswith(f"{suite.issuer}/")
    assert metadata["response_types_supported"] == ["code"]
    assert metadata["response_modes_supported"] == ["query"]
    assert metadata["subject_types_supported"] == ["public"]
    assert "RS256" in metadata["id_token_signing_alg_values_supported"]
    assert {"none", "HS256"}.isdisjoint(metadata["id_token_signing_alg_values_supported"])
    assert "openid" in metadata["scopes_supported"]
    assert {"sub", "iss", "auth_time", "name", "email"} <= set(metadata["claims_supported"])
    assert {"authorization_code", "refresh_token"} <= set(metadata["grant_types_supported"])
    assert {"client_secret_basic", "client_secret_post"} <= set(metadata["token_endpoint_auth_methods_supported"])
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True


def test_unsupported_parameters_are_announced_as_such(suite: Suite) -> None:
    """An absent `request_uri_parameter_supported` would mean true (Discovery §3)."""
    metadata = suite.client.metadata()
    for parameter in ("request", "request_uri", "claims"):
        assert metadata[f"{parameter}_parameter_supported"] is False


def test_jwks_has_public_signing_keys_only(suite: Suite) -> None:
    keys = httpx.get(suite.client.metadata()["jwks_uri"]).json()["keys"]
    assert len({key["kid"] for key in keys}) == len(keys)
    for key in keys:
        assert key["kty"] in ("RSA", "EC", "OKP")
        assert key["use"] == "sig"
        assert {"d", "p", "q", "dp", "dq", "qi", "k"}.isdisjoint(key)
    assert "RS256" in {key["alg"] for key in keys}


def test_oauth_metadata_says_the_same(suite: Suite) -> None:
    """RFC 8414, without the members of OpenID Connect."""
    oauth = httpx.get(f"{suite.issuer}/.well-known/oauth-authorization-server").json()
    metadata = suite.client.metadata()
    assert {"authorization_endpoint", "scopes_supported", "code_challenge_methods_supported"} <= oauth.keys()
    assert {name: metadata[name] for name in oauth} == oauth
