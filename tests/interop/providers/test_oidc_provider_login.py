"""Users of two node oidc-providers log in; then these stop, restart, rotate their keys and show other certificates."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.controlplane.certificates import Authority
from tests.harness.browser import Away
from tests.interop.providers.installation import (
    SCOPES,
    Installation,
    ca_certificate_of,
    hr_application,
    openid_provider,
)
from tests.interop.providers.oidc_provider import LOGIN_FORM, OidcProvider, oidc_provider
from tests.interop.providers.users import Users
from tests.interop.providers.visitor import Provider, Visitor

PASSWORD: Final = "change-me-now"
CHECK_SECONDS: Final = 15 * 60
"""Default of `upstreamCheck.every`."""
_SECRET: Final = "oidc-provider-client-secret"
_OIDC: Final = {"scopes": ["openid", "profile", "email", "groups"]}
_ALLOWED: Final = {"claim": "groups", "allow": ["hr-*", "payroll-managers"]}
_FOR_PARTNERS: Final = {"claim": "groups", "prefix": "partner:", "allow": ["*"]}


def people() -> dict[str, dict[str, Any]]:
    groups = {"ada": ["hr-staff", "everyone"], "grace": ["payroll-managers"]}
    return {
        name: {
            "id": f"id-of-{name}",
            "password": PASSWORD,
            "name": f"{name.title()} Example",
            "email": f"{name}@example.org",
            "groups": groups[name],
        }
        for name in groups
    }


def client_of(installation: Installation, name: str) -> dict[str, Any]:
    return {
        "client_id": "scopewright",
        "client_secret": _SECRET,
        "redirect_uris": [installation.callback_of(name)],
        "grant_types": ["authorization_code", "refresh_token"],
    }


@dataclass(frozen=True)
class Setup:
    """The issuer, and the providers `company` and `partners`, which has claims in userinfo only."""

    issuer: Installation
    company: OidcProvider
    partners: OidcProvider

    def users_of(self, application: str) -> Users:
        return Users(self.issuer.relying_party(application), PASSWORD)

    def provider(self, name: str) -> OidcProvider:
        return {"company": self.company, "partners": self.partners}[name]

    def visitor(self, name: str) -> Visitor:
        return Visitor(self.issuer.url, Provider(name, self.provider(name).url, LOGIN_FORM))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    applications = (
        hr_application("hr-web", "company", "partners"),
        hr_application("hr-staff", "company"),
        hr_application("secured", "secured"),
        hr_application("moving", "moving"),
    )
    issuer = Installation(tmp_path_factory.mktemp("issuer"), *applications)
    company, partners = (
        oidc_provider(
            tmp_path_factory.mktemp(name),
            client_of(issuer, name),
            people(),
            claims_in_id_token=name == "company",
        )
        for name in ("company", "partners")
    )
    with company, partners:
        issuer.declare(
            "company", *openid_provider("company", company.url, _SECRET, _OIDC, claimMappings={"groups": _ALLOWED})
        )
        issuer.declare(
            "partners",
            *openid_provider("partners", partners.url, _SECRET, _OIDC, claimMappings={"groups": _FOR_PARTNERS}),
        )
        with issuer:
            issuer.ready_of("company", "InForce")
            issuer.ready_of("partners", "InForce")
            yield Setup(issuer, company, partners)


def test_user_chooses_one_of_two_providers(setup: Setup) -> None:
    users, claims = setup.users_of("hr-web"), {}
    for name in ("company", "partners"):
        with setup.visitor(name) as visitor:
            page = visitor.issuer.page(users.web.request(scope=SCOPES).url)
            assert {"provider-company", "provider-partners"} <= set(page.links)
            claims[name] = users.log_in(visitor, "ada", scope="openid groups").claims
    assert claims["company"]["groups"] == ["hr-staff"]
    assert sorted(claims["partners"]["groups"]) == ["partner:everyone", "partner:hr-staff"]
    assert claims["company"]["sub"] != claims["partners"]["sub"], "both say id-of-ada, and are two people"


def test_only_provider_of_an_application_is_not_chosen(setup: Setup) -> None:
    with setup.visitor("company") as visitor:
        users = setup.users_of("hr-staff")
        assert visitor.is_upstream(visitor.issuer.open(users.web.request().url))
        assert users.log_in(visitor, "ada").claims["groups"] == ["hr-staff"]


def test_session_of_another_provider_does_not_admit(setup: Setup) -> None:
    with setup.visitor("partners") as visitor:
        setup.users_of("hr-web").log_in(visitor, "ada", scope="openid")
        at = visitor.issuer.open(setup.users_of("hr-staff").web.request().url)
        assert not (isinstance(at, Away) and "code" in at.parameters)


def test_what_the_application_asks_reaches_the_provider(setup: Setup) -> None:
    with setup.visitor("company") as visitor:
        users = setup.users_of("hr-staff")
        users.log_in(visitor, "ada", prompt="login", login_hint="ada@example.org", ui_locales="de", max_age="600")
        sent = setup.company.authorization_requests()[-1]
        expected = {"prompt": "login", "login_hint": "ada@example.org", "ui_locales": "de", "max_age": "600"}
        assert {name: sent.get(name) for name in expected} == expected
        assert sent["redirect_uri"] == setup.issuer.callback_of("company")
        assert sent["code_challenge_method"] == "S256"
        assert sent["nonce"]


def test_user_who_cancels_at_the_provider_sees_a_page_and_returns(setup: Setup) -> None:
    users = setup.users_of("hr-staff")
    with setup.visitor("company") as visitor:
        request = users.web.request()
        begun = visitor.issuer.open(request.url)
        assert isinstance(begun, Away)
        form = visitor.upstream.page(begun.url)
        cancelled = visitor.upstream.submit(form, LOGIN_FORM.form, "provider-cancel")
        assert isinstance(cancelled, Away)
        page = visitor.issuer.page(cancelled.url)
        assert page.status == 403
        away = visitor.issuer.submit(page, "back-form", "back")
        assert isinstance(away, Away), away
        assert users.web.error(request, away) == "access_denied"


@pytest.mark.parametrize(("name", "alg"), [("company", "ES256"), ("partners", "PS256")])
def test_login_works_after_a_rotation_to_a_key_of_another_algorithm(setup: Setup, name: str, alg: str) -> None:
    users = setup.users_of("hr-web")
    with setup.visitor(name) as visitor:
        users.log_in(visitor, "ada", scope="openid")
    setup.provider(name).rotate_key(alg)
    with setup.visitor(name) as visitor:
        users.log_in(visitor, "ada", scope="openid")


def test_outage_stops_logins_and_no_refresh(tmp_path: Path) -> None:
    issuer = Installation(tmp_path, hr_application("hr-web"))
    provider = oidc_provider(tmp_path, client_of(issuer, "company"), people())
    issuer.declare(
        "company", *openid_provider("company", provider.url, _SECRET, _OIDC, claimMappings={"groups": _ALLOWED})
    )
    with provider, issuer:
        issuer.ready_of("company", "InForce")
        users = Users(issuer.relying_party("hr-web"), PASSWORD)
        as_provider = Provider("company", provider.url, LOGIN_FORM)
        with Visitor(issuer.url, as_provider) as visitor:
            tokens = users.log_in(visitor, "ada")
        with Visitor(issuer.url, as_provider) as visitor:
            callback = visitor.callback_of(visitor.issuer.open(users.web.request().url), "ada", PASSWORD)
            provider.stop()
            page = visitor.issuer.page(callback)
            assert page.status == 503
            assert "company" in page.texts["login-problem"]
        issuer.move_clock(CHECK_SECONDS + 1)
        assert "payroll.read" in users.refresh(tokens), "the check is due, and the provider does not answer"
        provider.start()
        with Visitor(issuer.url, as_provider) as visitor:
            assert users.log_in(visitor, "ada").claims["groups"] == ["hr-staff"]


def test_users_of_a_provider_that_moves_stay_the_same(setup: Setup, tmp_path: Path) -> None:
    issuer, users, subjects = setup.issuer, setup.users_of("moving"), []
    mappings, domain = {"groups": {**_ALLOWED, "prefix": "moving:"}}, ""
    for place in ("old", "new"):
        (folder := tmp_path / place).mkdir()
        with oidc_provider(folder, client_of(issuer, "moving"), people()) as provider:
            domain = domain or provider.url
            moving = openid_provider(
                "moving", provider.url, _SECRET, _OIDC, claimMappings=mappings, subjectDomain=domain
            )
            issuer.declare("moving", *moving)
            issuer.wait_for_record("moving", "record.json", provider.url)
            with Visitor(issuer.url, Provider("moving", provider.url, LOGIN_FORM)) as visitor:
                subjects.append(users.log_in(visitor, "ada", scope="openid").claims["sub"])
    assert subjects[0] == subjects[1]


def test_provider_with_a_private_authority(setup: Setup, tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    certificate, key = (pem.decode() for pem in authority.server())
    trust = ssl.create_default_context(cadata=authority.pem.decode())
    tls = {"cert": certificate, "key": key}
    client = client_of(setup.issuer, "secured")
    with oidc_provider(tmp_path, client, people(), tls=tls, trust=trust) as provider:
        mappings = {"groups": {**_ALLOWED, "prefix": "secured:"}}
        setup.issuer.declare(
            "secured", *openid_provider("secured", provider.url, _SECRET, _OIDC, claimMappings=mappings)
        )
        assert "caCertificateRef" in setup.issuer.ready_of("secured", "ProviderCertificateInvalid")
        with_ca = _OIDC | {"caCertificateRef": {"name": "secured-ca"}}
        documents = openid_provider("secured", provider.url, _SECRET, with_ca, claimMappings=mappings)
        setup.issuer.declare("secured", *documents, ca_certificate_of("secured", authority.pem))
        setup.issuer.ready_of("secured", "InForce")
        with Visitor(setup.issuer.url, Provider("secured", provider.url, LOGIN_FORM, trust)) as visitor:
            claims = setup.users_of("secured").log_in(visitor, "ada", scope="openid groups").claims
            assert claims["groups"] == ["secured:hr-staff"]
