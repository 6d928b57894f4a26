"""An issuer with the clients that the configuration of the foundation's suite would name."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.conformance.openid.suite import CLIENTS, LOGGED_OUT, Suite
from tests.harness.browser import FormBrowser
from tests.harness.login_issuer import NAMESPACE, LoginIssuer, application
from tests.harness.relying_party import RelyingParty


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoginIssuer]:
    applications = [
        application(name, [uri], pkce="Optional", postLogoutRedirectURIs=[LOGGED_OUT]) for name, uri in CLIENTS.items()
    ]
    with LoginIssuer(tmp_path_factory.mktemp("openid"), applications) as running:
        yield running


@pytest.fixture
def suite(provider: LoginIssuer) -> Iterator[Suite]:
    """A module of the suite: it starts without a session."""
    basic, second, post = (_client(provider, name) for name in CLIENTS)
    with FormBrowser(provider.url) as browser:
        yield Suite(browser, basic, second, replace(post, method="client_secret_post"))


def _client(provider: LoginIssuer, name: str) -> RelyingParty:
    client_id, secret = provider.secret(NAMESPACE, name)
    return RelyingParty(provider.url, client_id, CLIENTS[name], secret, pkce=False)
