"""Calls the APIs of the HR system for the user who is logged in: an access token for each, by the refresh token."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

import httpx
from authlib.integrations.base_client import OAuthError

MARGIN_SECONDS = 30
"""An access token is not used in the last seconds of its lifetime."""


@dataclass
class Login:
    """The login of one user. It stays on the server: the browser has only a name for it.

    `access_tokens` are by API, each with its end in seconds since the epoch.
    """

    user: dict[str, Any]
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    access_tokens: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)


class NoAccess(Exception):
    """The user has no access to this API."""

    def __init__(self, api: str, reason: str) -> None:
        super().__init__(f"{api}: {reason}")
        self.api, self.reason = api, reason


class LoginEnded(Exception):
    """The user must log in again."""


class Apis:
    """`oauth` is the application's client of Authlib."""

    def __init__(self, oauth: Any, http: httpx.AsyncClient) -> None:
        self._oauth = oauth
        self._http = http

    async def call(self, login: Login, api: str, method: str, path: str, **request: Any) -> Any:
        """The JSON answer of an API, such as `payroll`. Raises NoAccess, LoginEnded or httpx.HTTPError."""
        headers = {"Authorization": f"Bearer {await self._access_token(login, api)}"}
        answer = await self._http.request(method, os.environ[f"{api.upper()}_URL"] + path, headers=headers, **request)
        if answer.status_code == 401:  # ended early, such as by a withdrawn grant: the next call gets another one
            login.access_tokens.pop(api, None)
        if answer.status_code == 403:
            raise NoAccess(api, answer.json().get("error_description", "the API refuses this"))
        return answer.raise_for_status().json()

    async def _access_token(self, login: Login, api: str) -> str:
        token, end = login.access_tokens.get(api, ("", 0.0))
        if time.time() < end - MARGIN_SECONDS:
            return token
        try:
            fetched = await self._oauth.fetch_access_token(
                grant_type="refresh_token",
                refresh_token=login.refresh_token,
                resource=f"https://{api}-api.{api}.svc",
            )
        except OAuthError as error:
            if error.error == "invalid_target":
                raise NoAccess(api, "nothing is granted to this user") from None
            raise LoginEnded(error.error) from None
        login.access_tokens[api] = fetched["access_token"], time.time() + fetched["expires_in"]
        return str(fetched["access_token"])
