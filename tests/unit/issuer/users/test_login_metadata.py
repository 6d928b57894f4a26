"""Metadata of logins (RFC 8414, OpenID Connect Discovery): complete with users, absent without."""

from typing import Any

import pytest

from scopewright.core.records.issuer import IssuerRecord
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER
from tests.unit.issuer.users.logins import Logins, running_logins

OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
OF_LOGINS = {
    "authorization_endpoint",
    "authorization_response_iss_parameter_supported",
    "claims_parameter_supported",
    "claims_supported",
    "code_challenge_methods_supported",
    "end_session_endpoint",
    "prompt_values_supported",
    "pushed_authorization_request_endpoint",
    "request_parameter_supported",
    "request_uri_parameter_supported",
    "response_modes_supported",
    "scopes_supported",
    "userinfo_endpoint",
}


async def document(logins: Logins | IssuerHarness, path: str) -> dict[str, Any]:
    harness = logins.harness if isinstance(logins, Logins) else logins
    content: dict[str, Any] = (await harness.http.get(path)).json()
    return content


async def test_the_openid_document_describes_logins() -> None:
    async with running_logins() as logins:
        content = await document(logins, OPENID)
        assert content.keys() >= OF_LOGINS
        for name, path in (
            ("authorization_endpoint", "/authorize"),
            ("pushed_authorization_request_endpoint", "/par"),
            ("userinfo_endpoint", "/userinfo"),
            ("end_session_endpoint", "/logout"),
        ):
            assert content[name] == ISSUER + path
        assert content["response_types_supported"] == ["code"]
        assert content["response_modes_supported"] == ["query"]
        assert content["grant_types_supported"][:2] == ["authorization_code", "refresh_token"]
        assert content["code_challenge_methods_supported"] == ["S256"]
        assert "openid" in content["scopes_supported"]
        assert content["id_token_signing_alg_values_supported"] == ["ES256", "RS256"]
        assert content["authorization_response_iss_parameter_supported"] is True
        for name in ("request_parameter", "request_uri_parameter", "claims_parameter"):
            assert content[f"{name}_supported"] is False
        for endpoint, public in (("token", True), ("revocation", True), ("introspection", False)):
            assert ("none" in content[f"{endpoint}_endpoint_auth_methods_supported"]) == public


async def test_the_oauth_document_has_what_oauth_has() -> None:
    async with running_logins() as logins:
        content = await document(logins, OAUTH)
        assert content["authorization_endpoint"] == f"{ISSUER}/authorize"
        assert content["pushed_authorization_request_endpoint"] == f"{ISSUER}/par"
        assert "require_pushed_authorization_requests" not in content
        assert content["response_types_supported"] == ["code"]
        assert content["request_uri_parameter_supported"] is False
        assert "userinfo_endpoint" not in content


async def test_the_profile_fapi2_offers_neither_public_clients_nor_rs256() -> None:
    async with running_logins() as logins:
        logins.harness.put(IssuerRecord(ISSUER, profile="FAPI2"))
        await settle()
        content = await document(logins, OPENID)
        assert content["token_endpoint_auth_methods_supported"] == ["private_key_jwt"]
        assert content["require_pushed_authorization_requests"] is True
        assert content["id_token_signing_alg_values_supported"] == ["ES256"]


@pytest.mark.parametrize("path", [OPENID, OAUTH])
async def test_without_users_nothing_is_said_about_them(path: str, harness: IssuerHarness) -> None:
    content = await document(harness, path)
    assert not content.keys() & OF_LOGINS
    assert content["response_types_supported"] == ["none"]
    assert content["grant_types_supported"] == [
        "client_credentials",
        "urn:ietf:params:oauth:grant-type:token-exchange",
    ]
    assert "none" not in content["token_endpoint_auth_methods_supported"]
    assert (await harness.http.get("/userinfo")).status_code == 404
    assert (await harness.http.post("/par")).status_code == 404
