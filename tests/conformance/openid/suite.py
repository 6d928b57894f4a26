"""What the modules of the foundation's suite have in common."""

from dataclasses import dataclass
from typing import Any, Final

from tests.harness.browser import Away, FormBrowser, finish_login, walk_login
from tests.harness.html_page import Page
from tests.harness.relying_party import AuthorizationRequest, RelyingParty, TokenResponse

CLIENTS: Final = {
    "suite": "https://suite.hr.example/callback",
    "suite-second": "https://suite.hr.example/callback?dummy1=lorem&dummy2=ipsum",
    "suite-post": "https://suite.hr.example/callback",
}
"""Redirect URIs by client. As the suite does, they send no PKCE and need `login.pkce: Optional`."""
LOGGED_OUT: Final = "https://suite.hr.example/logged-out"
USER: Final = "ada"


@dataclass(frozen=True)
class Suite:
    """The clients of the suite, which send no code challenge, and its browser."""

    browser: FormBrowser
    client: RelyingParty
    second: RelyingParty
    post: RelyingParty

    @property
    def issuer(self) -> str:
        return self.client.issuer

    def log_in(self, client: RelyingParty | None = None, **changes: str | None) -> TokenResponse:
        """The whole flow, with login and consent where they are asked for; it ends with userinfo, as every module."""
        client = client or self.client
        request = client.request(**changes)
        return self.complete(request, walk_login(self.browser, request.url, USER), client)

    def log_in_silently(self, **changes: str | None) -> TokenResponse:
        """The whole flow, in which no page may be shown."""
        request = self.client.request(**changes)
        away = self.browser.open(request.url)
        assert isinstance(away, Away), f"a page was shown: {away!r}"
        return self.complete(request, away)

    def log_in_again(self, **changes: str | None) -> TokenResponse:
        """The whole flow, in which the login page must be shown in spite of the session."""
        request = self.client.request(**changes)
        page = self.browser.open(request.url)
        assert isinstance(page, Page), f"no page was shown before {page}"
        assert "login" in page.forms, page
        return self.complete(request, finish_login(self.browser, page, USER))

    def complete(self, request: AuthorizationRequest, away: Away, client: RelyingParty | None = None) -> TokenResponse:
        """Redeem the code and ask for userinfo."""
        client = client or self.client
        tokens = client.tokens(request, away)
        assert self.userinfo(tokens)["sub"] == tokens.claims["sub"]
        return tokens

    def userinfo(self, tokens: TokenResponse, method: str = "GET") -> dict[str, Any]:
        response = self.client.userinfo(tokens.access_token, method)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"].startswith("application/json")
        return response.json()  # type: ignore[no-any-return]

    def error(self, **changes: str | None) -> str:
        """The error with which the client gets the browser back, before any page."""
        request = self.client.request(**changes)
        away = self.browser.open(request.url)
        assert isinstance(away, Away), f"a page was shown: {away!r}"
        return self.client.error(request, away)

    def error_page(self, url: str) -> Page:
        """The issuer's own error page, which says what is wrong and has an id for the log."""
        page = self.browser.open(url)
        assert isinstance(page, Page), f"the browser was redirected: {page}"
        assert page.status == 400
        assert page.texts["error-description"]
        assert page.texts["error-id"]
        return page
