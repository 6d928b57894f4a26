"""Access tokens of a real Keycloak, and the page that describes its settings."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from scopewright.client import ClientCredentials
from scopewright.testing import FakeIssuer
from scopewright.verifier import AnyIssuer, Introspection, Reason, TokenRejected, Verifier
from tests.documents import ROOT, document
from tests.interop.keycloak import keycloak
from tests.pages.page import Page

API: Final = "https://payroll-api.payroll.svc"
_PAGE: Final = Page.of(document(ROOT / "docs/protect/keycloak.md"))
_USER: Final = {
    "username": "ann",
    "enabled": True,
    "firstName": "Ann",
    "lastName": "Lee",
    "email": "ann@example.org",
    "credentials": [{"type": "password", "value": "change-me"}],
}


def _mapper(kind: str, **config: str) -> dict[str, Any]:
    claim = {"jsonType.label": "String", "access.token.claim": "true"}
    return {
        "name": kind,
        "protocol": "openid-connect",
        "protocolMapper": kind,
        "config": claim | {name.replace("_", "."): value for name, value in config.items()},
    }


def _realm() -> dict[str, Any]:
    """The realm of the page, and copies of its client that lack a setting or have one more."""
    realm: dict[str, Any] = json.loads(_PAGE.files["hr-realm.json"])
    [audience] = realm["clients"][0]["protocolMappers"]
    roles = _mapper("oidc-usermodel-realm-role-mapper", claim_name="roles", multivalued="true")
    client_id = _mapper("oidc-hardcoded-claim-mapper", claim_name="client_id") | {"name": "client_id"}
    client_id["config"]["claim.value"] = "login-with-mapper"
    login = {"serviceAccountsEnabled": False, "directAccessGrantsEnabled": True}
    variants: dict[str, dict[str, Any]] = {
        "without-type": {"attributes": {}},
        "without-audience": {"protocolMappers": []},
        "with-roles": {"protocolMappers": [audience, roles]},
        "login": login,
        "login-with-mapper": {**login, "protocolMappers": [audience, client_id]},
    }
    for name, changes in variants.items():
        realm["clients"].append({**realm["clients"][0], "clientId": name, **changes})
    return realm | {"users": [_USER]}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with keycloak(_realm(), tmp_path_factory.mktemp("keycloak")) as url:
        yield url


@pytest.fixture(scope="module")
def verifier(url: str) -> Verifier:
    return Verifier(f"{url}/realms/hr", API)


def token_of(client: str, url: str, kind: str = "access_token") -> str:
    form = {"grant_type": "client_credentials"}
    if client.startswith("login"):
        form = {"grant_type": "password", "username": "ann", "password": "change-me"}
    endpoint = f"{url}/realms/hr/protocol/openid-connect/token"
    answer = httpx.post(endpoint, data={**form, "scope": "openid"}, auth=(client, "change-me"), timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()[kind])


def test_page_runs_as_it_stands(url: str, tmp_path: Path) -> None:
    port = httpx.URL(url).port
    assert port
    _PAGE.run(tmp_path, port, tmp_path)


def test_access_token_is_verified(url: str, verifier: Verifier) -> None:
    token = verifier.verify_sync(token_of("hr-desk", url))
    assert token.client_id == "hr-desk"
    assert token.subject
    assert API in token.audience
    assert token.scopes >= {"profile", "email"}


def test_roles_of_the_mapper_are_those_of_the_token(url: str, verifier: Verifier) -> None:
    assert "default-roles-hr" in verifier.verify_sync(token_of("with-roles", url)).roles


@pytest.mark.parametrize(
    ("client", "reason", "text"),
    [
        ("without-type", Reason.TYPE, "not an access token of type at\\+jwt"),
        ("without-audience", Reason.AUDIENCE, "The token is for another audience"),
        ("login", Reason.MISSING_CLAIM, "The access token has no claim client_id"),
    ],
)
def test_token_without_a_setting_of_the_page_is_refused_as_the_page_says(
    client: str, reason: Reason, text: str, url: str, verifier: Verifier
) -> None:
    with pytest.raises(TokenRejected, match=text) as refused:
        verifier.verify_sync(token_of(client, url))
    assert refused.value.reason is reason


def test_token_of_a_login_has_the_client_id_of_the_mapper(url: str, verifier: Verifier) -> None:
    token = verifier.verify_sync(token_of("login-with-mapper", url))
    assert token.client_id == "login-with-mapper"
    assert token.claims["preferred_username"] == "ann"


def test_id_token_is_refused(url: str, verifier: Verifier) -> None:
    with pytest.raises(TokenRejected) as refused:
        verifier.verify_sync(token_of("hr-desk", url, "id_token"))
    assert refused.value.reason is Reason.TYPE


def test_introspection_refuses_a_revoked_token(url: str) -> None:
    issuer = f"{url}/realms/hr"
    api = ClientCredentials(client_id=API, client_secret="change-me-too", issuer=issuer)
    caller = ClientCredentials(client_id="hr-desk", client_secret="change-me", issuer=issuer)
    verifier = Verifier(issuer, API, introspection=Introspection(api, max_age=0))
    token = caller.token_sync()
    assert verifier.verify_sync(token.value).client_id == "hr-desk"
    caller.revoke_sync(token)
    with pytest.raises(TokenRejected) as refused:
        verifier.verify_sync(token.value)
    assert refused.value.reason is Reason.REVOKED


def test_introspection_by_a_client_outside_the_audience_refuses_every_token(url: str) -> None:
    issuer = f"{url}/realms/hr"
    other = ClientCredentials(client_id="hr-desk", client_secret="change-me", issuer=issuer)
    with pytest.raises(TokenRejected) as refused:
        Verifier(issuer, API, introspection=other).verify_sync(token_of("hr-desk", url))
    assert refused.value.reason is Reason.REVOKED


def test_two_issuers_are_told_apart_by_iss(url: str, verifier: Verifier) -> None:
    scopewright = FakeIssuer(audience=API)
    both = AnyIssuer(verifier, scopewright.verifier())
    assert both.verify_sync(token_of("hr-desk", url)).issuer == f"{url}/realms/hr"
    assert both.verify_sync(scopewright.token("payroll.read", client="staff.hr-desk")).client_id == "staff.hr-desk"
    with pytest.raises(TokenRejected) as refused:
        both.verify_sync(FakeIssuer("https://other.test", API).token())
    assert refused.value.reason is Reason.ISSUER
