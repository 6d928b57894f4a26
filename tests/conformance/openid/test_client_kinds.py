"""Logins by every kind of client: with a secret, with a key, and public. All send a code challenge."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
from joserfc.jwk import ECKey
from joserfc.jws import extract_compact

from tests.harness.browser import Away, FormBrowser, walk_login
from tests.harness.login_issuer import NAMESPACE, PAYROLL, LoginIssuer, application
from tests.harness.relying_party import RelyingParty, TokenResponse

WEB: Final = "https://web.hr.example/callback"
NATIVE: Final = "http://127.0.0.1/callback"
"""Registered without a port; the request may name any (RFC 8252 §7.3)."""


@pytest.fixture(scope="module")
def key() -> ECKey:
    return ECKey.generate_key("P-256", {"kid": "web", "alg": "ES256", "use": "sig"})


@pytest.fixture(scope="module")
def issuer(key: ECKey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginIssuer]:
    by_key = {"method": "PrivateKeyJWT", "jwks": {"keys": [key.as_dict(private=False)]}}
    applications = [
        application("web", [WEB]),
        application("web-key", [WEB], authentication=by_key),
        application("native", [NATIVE], authentication={"method": "None"}),
    ]
    with LoginIssuer(tmp_path_factory.mktemp("kinds"), applications) as issuer:
        yield issuer


@pytest.fixture
def clients(issuer: LoginIssuer, key: ECKey) -> dict[str, RelyingParty]:
    client_id, secret = issuer.secret(NAMESPACE, "web")
    with_secret = RelyingParty(issuer.url, client_id, WEB, secret)
    return {
        "client_secret_basic": with_secret,
        "client_secret_post": replace(with_secret, method="client_secret_post"),
        "private_key_jwt": RelyingParty(issuer.url, f"{NAMESPACE}.web-key", WEB, key=key),
        "none": RelyingParty(issuer.url, f"{NAMESPACE}.native", "http://127.0.0.1:49152/callback"),
    }


@pytest.fixture
def browser(issuer: LoginIssuer) -> Iterator[FormBrowser]:
    with FormBrowser(issuer.url) as browser:
        yield browser


def logged_in(client: RelyingParty, browser: FormBrowser, user: str = "ada", **changes: str | None) -> TokenResponse:
    request = client.request(**changes)
    return client.tokens(request, walk_login(browser, request.url, user))


def claims_of(token: str) -> dict[str, Any]:
    """Of an access token, which is not verified here."""
    return json.loads(extract_compact(token.encode()).payload)  # type: ignore[no-any-return]


METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt", "none")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_logs_in_and_refreshes(
    method: str, clients: dict[str, RelyingParty], browser: FormBrowser
) -> None:
    client = clients[method]
    first = logged_in(client, browser)
    refreshed = client.refreshed(first, client.refresh(first.refresh_token))
    assert client.userinfo(refreshed.access_token).json()["sub"] == first.claims["sub"]


@pytest.mark.parametrize("method", METHODS)
def test_methods_are_in_the_metadata(method: str, clients: dict[str, RelyingParty]) -> None:
    assert method in clients[method].metadata()["token_endpoint_auth_methods_supported"]


def test_user_is_the_same_to_every_client(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    subjects = {logged_in(client, browser).claims["sub"] for client in clients.values()}
    assert len(subjects) == 1


@pytest.mark.parametrize("method", METHODS)
def test_code_challenge_is_required(method: str, clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    client = replace(clients[method], pkce=False)
    request = client.request()
    away = browser.open(request.url)
    assert isinstance(away, Away), away
    assert client.error(request, away) == "invalid_request"
    assert "code_challenge" in away.parameters["error_description"]


def test_plain_code_challenge_is_refused(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    client = clients["client_secret_basic"]
    request = client.request(code_challenge_method="plain")
    away = browser.open(request.url)
    assert isinstance(away, Away), away
    assert client.error(request, away) == "invalid_request"


@pytest.mark.parametrize("verifier", ["", "w" * 43])
def test_wrong_code_verifier_is_refused_and_the_code_stays_valid(
    verifier: str, clients: dict[str, RelyingParty], browser: FormBrowser
) -> None:
    client = clients["client_secret_basic"]
    request = client.request()
    code = client.code(request, walk_login(browser, request.url, "ada"))
    refused = client.redeem(replace(request, verifier=verifier), code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    client.checked(client.redeem(request, code), request.parameters["nonce"])


def test_refresh_token_of_a_public_client_rotates(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    client = clients["none"]
    first = logged_in(client, browser)
    second = client.refreshed(first, client.refresh(first.refresh_token))
    assert second.refresh_token != first.refresh_token


def test_refresh_token_of_a_confidential_client_stays(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    client = clients["client_secret_basic"]
    first = logged_in(client, browser)
    refreshed = client.refresh(first.refresh_token)
    assert refreshed.json().get("refresh_token", first.refresh_token) == first.refresh_token


def test_native_application_may_listen_on_any_port(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    for port in (1024, 50000):
        logged_in(replace(clients["none"], redirect_uri=f"http://127.0.0.1:{port}/callback"), browser)


def test_native_application_asks_each_time(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    """Any program of the machine can claim its redirect URI, so a session alone gives no code."""
    client = clients["none"]
    logged_in(client, browser)
    request = client.request(prompt="none")
    away = browser.open(request.url)
    assert isinstance(away, Away), away
    assert client.error(request, away) in ("consent_required", "interaction_required")


@pytest.mark.parametrize(("user", "scopes"), [("ada", {"payroll.read", "payroll.write"}), ("grace", {"payroll.read"})])
def test_scopes_are_those_of_the_user(
    user: str, scopes: set[str], clients: dict[str, RelyingParty], browser: FormBrowser
) -> None:
    tokens = logged_in(clients["client_secret_basic"], browser, user, scope="openid payroll.read payroll.write")
    claims = claims_of(tokens.access_token)
    assert claims["aud"] == PAYROLL
    assert set(claims["scope"].split()) & {"payroll.read", "payroll.write"} == scopes
    assert set(tokens.body["scope"].split()) >= scopes
    assert claims["sub"] == tokens.claims["sub"]
    assert claims["client_id"] == f"{NAMESPACE}.web"
    assert {"name", "email", "groups"}.isdisjoint(claims)


def test_user_without_any_access_sees_why(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    """The page names the API, the scope and the namespace that could grant it; its button leads back."""
    client = clients["client_secret_basic"]
    request = client.request(scope="openid payroll.read")
    page = browser.submit(browser.page(request.url), "login", "user-eve")
    assert not isinstance(page, Away), page
    for word in ("payroll", "payroll.read"):
        assert word in page.texts["no-access"]
    [form] = [name for name, form in page.forms.items() if "back" in form.buttons]
    away = browser.submit(page, form, "back")
    assert isinstance(away, Away), away
    assert client.error(request, away) == "access_denied"


def test_token_for_an_api_is_none_for_userinfo(clients: dict[str, RelyingParty], browser: FormBrowser) -> None:
    """Its audience is the API. A second token, for the issuer itself, comes with the refresh token."""
    client = clients["client_secret_basic"]
    tokens = logged_in(client, browser, scope="openid profile payroll.read")
    assert client.userinfo(tokens.access_token).status_code == 401
    for_userinfo = client.refreshed(tokens, client.refresh(tokens.refresh_token, resource=client.issuer))
    assert client.userinfo(for_userinfo.access_token).json()["name"] == "Ada Lovelace"
