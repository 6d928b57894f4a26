"""A browser of a user who is logged in, in front of `Logins`: one request at a time, with its session cookie."""

from dataclasses import dataclass
from typing import Any

import httpx

from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.users.stored import Session
from tests.harness.html_page import Page
from tests.unit.issuer.users.logins import Logins, user

COOKIE = "__Host-scopewright-session"
FORGOTTEN = f"{COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax; Secure"
OWN = {"Sec-Fetch-Site": "same-origin"}
CROSS_SITE = {"Sec-Fetch-Site": "cross-site"}


@dataclass
class LoggedIn:
    """The browser. `cookie` is empty for one without a login."""

    logins: Logins
    cookie: str
    session: Session

    @classmethod
    async def of(cls, logins: Logins, who: AuthenticatedUser | None = None) -> "LoggedIn":
        return cls(logins, *await logins.sessions.begin(who or user()))

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        """By a link of another site."""
        return await self.logins.harness.http.get(path, params=parameters or None, headers=self._headers(CROSS_SITE))

    async def post(self, path: str, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
        return await self.logins.harness.http.post(path, data=fields, headers=self._headers(headers or OWN))

    async def press(self, answer: httpx.Response, form: str, button: str, **changes: str) -> httpx.Response:
        """Submit the form of a page by a button."""
        found = Page(answer).forms[form]
        clicked = found.buttons[button]
        data = {**dict(found.fields), **({clicked.name: clicked.value} if clicked.name else {}), **changes}
        return await self.post(httpx.URL(found.action).path, OWN, **data)

    async def tokens(self, **of_code: Any) -> dict[str, Any]:
        """Of a client, to which this login's user has just returned."""
        response = await self.logins.redeem(await self.logins.code(self.session, **of_code))
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content

    async def has_ended(self) -> bool:
        return await self.logins.sessions.of_sid(self.session.sid) is None

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return headers | ({"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {})
