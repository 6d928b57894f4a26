"""A user's way through all pages of `scopewright dev`, in Chromium."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from tests.browser.callback_server import CallbackServer
from tests.browser.chromium import Chromium
from tests.harness.browser import Away
from tests.harness.login_issuer import NAMESPACE, LoginIssuer, application
from tests.harness.relying_party import AuthorizationRequest, RelyingParty, TokenResponse

APP_CALLBACK: Final = "example.hr.app:/callback"
"""Its host, app.hr.example, is one of those that the platform allows."""
ALL_SCOPES = "openid profile email groups payroll.read payroll.write"

Seen = Callable[[str], None]
"""Called with the name of each page of the issuer, when the browser shows it."""


@dataclass(frozen=True)
class Installation:
    """The issuer, and applications in which users log in. `staff_only` admits members of `hr-staff` only."""

    issuer: LoginIssuer
    web: RelyingParty
    staff_only: RelyingParty
    native: RelyingParty
    app: RelyingParty
    """An app on the user's device, with a private-use scheme (RFC 8252 §7.1)."""
    bye: str
    """Where `web` gets the browser back after a logout."""


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    with CallbackServer() as server:
        callback, bye = f"{server.url}/callback", f"{server.url}/bye"
        applications = [
            application("hr-web", [callback], postLogoutRedirectURIs=[bye]),
            application("hr-desk", [callback], allowedGroups=["hr-staff", "hr-managers"]),
            application("hr-cli", [callback], authentication={"method": "None"}),
            application("hr-app", [APP_CALLBACK], authentication={"method": "None"}),
        ]
        with LoginIssuer(folder, applications) as issuer:
            web, desk = (
                RelyingParty(issuer.url, *_credential(issuer, name, callback)) for name in ("hr-web", "hr-desk")
            )
            native = RelyingParty(issuer.url, f"{NAMESPACE}.hr-cli", callback)
            app = RelyingParty(issuer.url, f"{NAMESPACE}.hr-app", APP_CALLBACK)
            yield Installation(issuer, web, desk, native, app, bye)


def _credential(issuer: LoginIssuer, name: str, callback: str) -> tuple[str, str, str]:
    client_id, secret = issuer.secret(NAMESPACE, name)
    return client_id, callback, secret


@dataclass(frozen=True)
class Walk:
    """The ways of one browser in an installation that no user has used before. Each begins without cookies."""

    installation: Installation
    chromium: Chromium
    seen: Seen

    def login_and_logout(self) -> None:
        """Log in, consent, log in to another application, and be logged out by the first one."""
        tokens = self._log_in(self.seen)
        self._open_native()
        self._account()
        self._rp_logout(tokens)

    def refusals(self) -> None:
        """Refuse a consent, have no access, be refused by the login policy, and come with a wrong request."""
        chromium, web = self.chromium, self.installation.web
        chromium.forget_cookies()
        request = web.request(scope=ALL_SCOPES)
        chromium.open(request.url)
        chromium.click("user-grace")
        self.seen("consent-grace")
        chromium.click("deny")
        assert web.error(request, self._away()) == "access_denied"
        request = web.request(scope=ALL_SCOPES, prompt="login")
        chromium.open(request.url)
        chromium.click("user-eve")
        assert "payroll" in chromium.text("no-access")
        self.seen("no-access")
        chromium.click("back")
        assert web.error(request, self._away()) == "access_denied"
        request = self.installation.staff_only.request()
        chromium.open(request.url)
        assert "hr-staff" in chromium.text("no-access")
        self.seen("not-admitted")
        chromium.click("back")
        assert self.installation.staff_only.error(request, self._away()) == "access_denied"
        chromium.open(web.request(redirect_uri="https://elsewhere.example/callback").url)
        assert chromium.text("error-id")
        self.seen("error")

    def login_of_an_app(self) -> None:
        """Log in to the app and consent, continue a second time, refuse, and have no access."""
        chromium, app = self.chromium, self.installation.app
        chromium.forget_cookies()
        request = app.request(scope="openid payroll.read", prompt="consent")
        chromium.open(request.url)
        chromium.click("user-ada")
        self._return_to_app(request, "consent-app")
        request = app.request(scope="openid payroll.read")
        chromium.open(request.url)
        self._return_to_app(request, "continue-app")
        request = app.request(scope="openid payroll.read")
        chromium.open(request.url)
        assert app.error(request, Away(chromium.click_away("deny"))) == "access_denied"
        request = app.request(scope="openid payroll.read", prompt="login")
        chromium.open(request.url)
        chromium.click("user-eve")
        assert app.error(request, Away(chromium.click_away("back"))) == "access_denied"

    def _return_to_app(self, request: AuthorizationRequest, page: str) -> None:
        assert "example.hr.app:" in self.chromium.text("main")
        self.seen(page)
        away = Away(self.chromium.click_away("allow"))
        assert not self.chromium.complaints()
        assert self.installation.app.tokens(request, away).claims["sub"]

    def logout_by_the_user(self) -> None:
        """The page that asks, and the last one."""
        chromium = self.chromium
        self._log_in(lambda name: None)
        chromium.open(f"{self.installation.issuer.url}/logout")
        assert "Ada Lovelace" in chromium.text("main")
        self.seen("logout")
        chromium.click("log-out")
        assert chromium.text("logged-out")
        self.seen("logged-out")
        chromium.open(f"{self.installation.issuer.url}/account")
        assert chromium.text("not-logged-in")
        self.seen("not-logged-in")

    def _log_in(self, seen: Seen) -> TokenResponse:
        chromium, web = self.chromium, self.installation.web
        chromium.forget_cookies()
        request = web.request(scope=ALL_SCOPES, prompt="consent")
        chromium.open(request.url)
        assert "Developer login" in chromium.text("main")
        seen("login")
        chromium.click("user-ada")
        for shown in ("hr-web", "127.0.0.1", "Change salaries", "payroll-api", "Ada Lovelace"):
            assert shown in chromium.text("main")
        seen("consent")
        chromium.click("allow")
        tokens = web.tokens(request, self._away())
        assert tokens.claims["name"] == "Ada Lovelace"
        return tokens

    def _open_native(self) -> None:
        """The user has a login, so only the consent is shown; the second time it asks for nothing more."""
        chromium, native = self.chromium, self.installation.native
        for name in ("consent-native", "continue"):
            request = native.request(scope="openid offline_access payroll.read")
            chromium.open(request.url)
            self.seen(name)
            chromium.click("allow")
            native.tokens(request, self._away())

    def _account(self) -> None:
        chromium, issuer = self.chromium, self.installation.issuer
        chromium.open(f"{issuer.url}/account")
        assert "hr-cli" in chromium.text("account-page")
        self.seen("account")
        chromium.click(f"withdraw-{self.installation.native.client_id}")
        text = chromium.text("account-page")
        assert "hr-cli" not in text
        assert "hr-web" in text
        self.seen("account-withdrawn")

    def _rp_logout(self, tokens: TokenResponse) -> None:
        chromium = self.chromium
        parameters = {
            "id_token_hint": tokens.id_token,
            "post_logout_redirect_uri": self.installation.bye,
            "state": "the-state",
        }
        chromium.open(f"{self.installation.issuer.url}/logout?{urlencode(parameters)}")
        assert chromium.url == f"{self.installation.bye}?state=the-state"
        assert self.installation.web.refresh(tokens.refresh_token).json()["error"] == "invalid_grant"

    def _away(self) -> Away:
        """Where the browser is; it must be the application."""
        assert self.chromium.text("application")
        return Away(self.chromium.url)
