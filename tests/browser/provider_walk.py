"""Logins of `scopewright dev` with identity providers, in Chromium, and back to an application that serves https."""

import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.browser.callback_server import CallbackServer
from tests.browser.chromium import Chromium
from tests.browser.walk import APP_CALLBACK, Seen
from tests.controlplane.certificates import Authority
from tests.harness.browser import Away
from tests.harness.login_issuer import manifest
from tests.harness.relying_party import RelyingParty
from tests.interop.providers.installation import SCOPES, SYSTEM, Installation, hr_application, openid_provider
from tests.interop.providers.oidc_provider import LOGIN_FORM, OidcProvider, oidc_provider

PASSWORD: Final = "correct horse battery staple"
PROVIDERS: Final = ("company", "emergency")
_SECRET: Final = "client-secret-of-the-issuer"


@dataclass(frozen=True)
class ProviderInstallation:
    """The issuer, whose users are those of an OpenID provider and static ones, an application that serves https, and an
    app of the user's device.
    """

    web: RelyingParty
    app: RelyingParty
    """An app on the user's device, with a private-use scheme."""
    company: OidcProvider
    certificate: bytes


@contextmanager
def installed_with_providers(folder: Path) -> Iterator[ProviderInstallation]:
    certificate, key = Authority.at(folder).server()
    with CallbackServer(_tls(folder, certificate, key)) as server:
        callback = f"{server.url}/callback"
        web = hr_application("hr-web", *PROVIDERS, redirect_uri=callback, consent="Required")
        public: dict[str, Any] = {"authentication": {"method": "None"}}
        app = hr_application("hr-app", *PROVIDERS, redirect_uri=APP_CALLBACK, consent="Required", **public)
        issuer = Installation(folder, web, app)
        provider = oidc_provider(folder, _client(issuer.callback_of("company")), {"ada": _user("ada")})
        with provider:
            issuer.declare("company", *_company(provider.url))
            issuer.declare("emergency", *_emergency())
            with issuer:
                issuer.ready_of("company", "InForce")
                issuer.ready_of("emergency", "InForce")
                yield ProviderInstallation(
                    issuer.relying_party("hr-web", callback),
                    RelyingParty(issuer.url, "hr.hr-app", APP_CALLBACK),
                    provider,
                    certificate,
                )


@dataclass(frozen=True)
class ProviderWalk:
    """The ways of one browser. Each begins without cookies."""

    installation: ProviderInstallation
    chromium: Chromium
    seen: Seen

    def static_login(self) -> None:
        """Choose the static users, mistype the password, log in, consent, and reach the application."""
        chromium, web = self.chromium, self.installation.web
        chromium.forget_cookies()
        request = web.request(scope=SCOPES, prompt="consent")
        chromium.open(request.url)
        for shown in ("hr-web", "Company login", "Emergency access"):
            assert shown in chromium.text("providers")
        self.seen("providers")
        chromium.click("provider-emergency")
        self.seen("password")
        self._enter("grace", "wrong")
        assert chromium.text("password-problem")
        self.seen("password-wrong")
        self._enter("", PASSWORD)
        assert "Grace Example" in chromium.text("main")
        chromium.click("allow")
        assert web.tokens(request, self._away()).claims["name"] == "Grace Example"

    def upstream_login(self) -> None:
        """Log in at the OpenID provider; then cancel there, and return to the application."""
        chromium, web = self.chromium, self.installation.web
        chromium.forget_cookies()
        request = web.request(scope=SCOPES, prompt="consent")
        chromium.open(request.url)
        chromium.click("provider-company")
        self._log_in_at_provider()
        assert "Ada Example" in chromium.text("main")
        chromium.click("allow")
        assert web.tokens(request, self._away()).claims["groups"] == ["hr-staff"]
        request = web.request(scope=SCOPES, prompt="login")
        chromium.open(request.url)
        chromium.click("provider-company")
        chromium.click("provider-cancel")
        assert "Company login" in chromium.text("login-problem")
        self.seen("login-refused")
        chromium.click("back")
        assert web.error(request, self._away()) == "access_denied"

    def outage(self) -> None:
        """The provider does not answer: the page names another one, and the user tries again."""
        chromium, web = self.chromium, self.installation.web
        chromium.forget_cookies()
        request = web.request(scope=SCOPES, prompt="consent")
        chromium.open(request.url)
        chromium.click("provider-company")
        with self.installation.company.failing_tokens():
            self._log_in_at_provider()
            assert "Company login" in chromium.text("login-problem")
            assert chromium.text("provider-emergency") == "Emergency access"
            self.seen("login-unavailable")
        chromium.click("try-again")
        chromium.click("deny")
        assert web.error(request, self._away()) == "access_denied"

    def logins_of_an_app(self) -> None:
        """Log in to the app with a password, and at the OpenID provider; cancel there, and return to the app."""
        chromium, app = self.chromium, self.installation.app
        for provider in PROVIDERS:
            chromium.forget_cookies()
            request = app.request(scope="openid payroll.read", prompt="consent")
            chromium.open(request.url)
            chromium.click(f"provider-{provider}")
            if provider == "company":
                self._log_in_at_provider()
            else:
                self._enter("grace", PASSWORD)
            self.seen(f"consent-app-{provider}")
            away = Away(chromium.click_away("allow"))
            assert not chromium.complaints(), provider
            assert app.tokens(request, away).claims["sub"]
        request = app.request(prompt="login")
        chromium.open(request.url)
        chromium.click("provider-company")
        chromium.click("provider-cancel")
        assert app.error(request, Away(chromium.click_away("back"))) == "access_denied"
        assert not chromium.complaints()

    def _log_in_at_provider(self) -> None:
        self.chromium.fill(LOGIN_FORM.user, "ada")
        self.chromium.fill(LOGIN_FORM.password, PASSWORD)
        self.chromium.click(LOGIN_FORM.button)

    def _enter(self, user: str, password: str) -> None:
        """Submit the form. Without `user`, the name stays that of the last try."""
        if user:
            self.chromium.fill("username", user)
        self.chromium.fill("password", password)
        self.chromium.click("log-in")

    def _away(self) -> Away:
        """Where the browser is; it must be the application."""
        assert self.chromium.text("application")
        return Away(self.chromium.url)


def _company(url: str) -> list[dict[str, Any]]:
    mappings = {"groups": {"claim": "groups", "allow": ["hr-*"]}}
    scopes = {"scopes": ["openid", "profile", "email", "groups"]}
    return openid_provider("company", url, _SECRET, scopes, displayName="Company login", claimMappings=mappings)


def _emergency() -> list[dict[str, Any]]:
    grace = {"id": "grace", "name": "Grace Example", "email": "grace@hr.example", "groups": ["payroll-managers"]}
    users = {"users": [{**grace, "username": "grace", "passwordHash": _hash_of(PASSWORD)}]}
    return [
        manifest(
            "IdentityProvider",
            SYSTEM,
            "emergency",
            {"displayName": "Emergency access", "static": {"usersRef": {"name": "emergency-users"}}},
        ),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "emergency-users", "namespace": SYSTEM},
            "type": "scopewright.dev/static-users",
            "stringData": {"users.yaml": json.dumps(users)},
        },
    ]


def _hash_of(password: str) -> str:
    command = [str(Path(sys.executable).with_name("scopewright")), "users", "hash-password"]
    hashed = subprocess.run(command, input=f"{password}\n", capture_output=True, text=True, check=True)
    return hashed.stdout.strip()


def _client(redirect_uri: str) -> dict[str, Any]:
    return {
        "client_id": "scopewright",
        "client_secret": _SECRET,
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
    }


def _user(name: str) -> dict[str, Any]:
    shown = {"name": f"{name.title()} Example", "email": f"{name}@hr.example", "groups": ["hr-staff"]}
    return {"id": f"id-of-{name}", "password": PASSWORD, **shown}


def _tls(folder: Path, certificate: bytes, key: bytes) -> ssl.SSLContext:
    file = folder / "application.pem"
    file.write_bytes(certificate + key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context
