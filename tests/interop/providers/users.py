"""Users who log in to an application of an `Installation`, and what they get."""

from dataclasses import dataclass

from scopewright.verifier import Token, Verifier
from tests.harness.browser import Away
from tests.harness.html_page import Page
from tests.harness.relying_party import RelyingParty, TokenResponse
from tests.interop.providers.installation import PAYROLL, SCOPES
from tests.interop.providers.visitor import Visitor


@dataclass(frozen=True)
class Users:
    """Users of one provider, whose password is the same, and the application."""

    web: RelyingParty
    password: str

    def log_in(self, visitor: Visitor, user: str, **parameters: str) -> TokenResponse:
        """The checked tokens of a login; by default with all scopes."""
        request = self.web.request(**{"scope": SCOPES, **parameters})
        away = visitor.log_in(request.url, user, self.password)
        assert isinstance(away, Away), f"the login ended on {away!r}"
        return self.web.tokens(request, away)

    def see_page(self, visitor: Visitor, user: str, **parameters: str) -> Page:
        """The page of the issuer on which the login ends."""
        page = visitor.log_in(self.web.request(**{"scope": SCOPES, **parameters}).url, user, self.password)
        assert isinstance(page, Page), f"the login led to {page}"
        return page

    def refresh(self, tokens: TokenResponse) -> set[str]:
        """The scopes that a refresh gives."""
        response = self.web.refresh(tokens.refresh_token)
        assert response.status_code == 200, response.text
        return set(response.json()["scope"].split())

    def refused_refresh(self, tokens: TokenResponse) -> str:
        """The error of a refresh."""
        response = self.web.refresh(tokens.refresh_token)
        assert response.status_code == 400, response.text
        return str(response.json()["error"])

    def access(self, tokens: TokenResponse) -> Token:
        """The access token as the API verifies it."""
        return Verifier(self.web.issuer, PAYROLL).verify_sync(tokens.access_token)
