"""Requests to the token endpoint and to userinfo of a provider, and their answers."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote_plus

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import UpstreamTokens
from scopewright.issuer.upstream.connection import ProviderConnection, error_of
from scopewright.issuer.upstream.id_token import MAX_SUBJECT
from scopewright.issuer.upstream.login import LoginEnded, LoginRefused, LoginUnconfirmable, UpstreamRequest
from scopewright.issuer.upstream.response import shown
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.discovery import ProviderMetadata
from scopewright.upstream.http import UpstreamAnswer

MAX_TOKEN: Final = 4096
"""Characters of a token that is stored; a longer one is dropped."""
_USER_NEEDED: Final = frozenset(
    {"interaction_required", "login_required", "consent_required", "account_selection_required"}
)
"""Errors of a provider that wants to see the user (OpenID Connect Core §3.1.2.6). Entra ID answers refreshes so."""
_TOKEN_REFUSED: Final = (400, 401, 403)
"""Statuses of userinfo for a token that it does not accept (RFC 6750 §3.1)."""
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A successful answer of the token endpoint (RFC 6749 §5.1). Tokens are empty if there is none that can be used."""

    id_token: object = field(repr=False)
    """None if there is none."""
    access_token: str = field(repr=False)
    """A bearer token."""
    refresh_token: str = field(repr=False)
    """Of at most MAX_TOKEN characters."""


class ProviderEndpoints:
    """Of one provider. All methods raise `UpstreamFailed`."""

    def __init__(self, provider: Provider, connection: ProviderConnection, metadata: ProviderMetadata) -> None:
        self._secret = provider.client_secret
        self._client_id = provider.record.oidc.client_id if provider.record.oidc else ""
        self._connection = connection
        self._metadata = metadata

    async def redeem(self, request: UpstreamRequest, code: str) -> TokenAnswer:
        """Raises `LoginRefused` if the provider does not accept the code."""
        answer = await self._post(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": request.redirect_uri,
                "code_verifier": request.code_verifier,
            }
        )
        if answer.status == 400 and error_of(answer) == "invalid_grant":
            raise LoginRefused(
                "code", "the provider does not accept the code: it is used, expired, or of another login"
            )
        return _tokens(answer)

    async def refresh(self, refresh_token: str) -> TokenAnswer:
        """Raises `LoginEnded` if the provider has ended the login, and `LoginUnconfirmable` if it wants the user."""
        answer = await self._post({"grant_type": "refresh_token", "refresh_token": refresh_token})
        error = error_of(answer) if answer.status == 400 else ""
        if error == "invalid_grant":
            raise LoginEnded
        if error in _USER_NEEDED:
            message = f"{answer.url} answered with {error}: the user must log in again"
            raise LoginUnconfirmable("Refused", message, UpstreamTokens(refresh_token))
        return _tokens(answer)

    async def userinfo(self, access_token: str, subject: str | None = None) -> dict[str, Any]:
        """Return the claims (OpenID Connect Core §5.3.2), with the `sub` of the ID token, if it is given.

        Raises `LoginRefused` if they are of another user, or are not JSON.
        """
        return _claims(await self._get_userinfo(access_token), subject)

    async def userinfo_after_login(self, access_token: str) -> dict[str, Any]:
        """As `userinfo`, with the access token of the login, which is the only one. Raises `LoginUnconfirmable` if the
        provider does not accept it: no clock here decides when it ends.
        """
        answer = await self._get_userinfo(access_token)
        if answer.status in _TOKEN_REFUSED:
            message = (
                f"{answer.url} answered {answer.status}: the access token of the login has ended, and there is no "
                "refresh token; add offline_access to scopes"
            )
            raise LoginUnconfirmable("Refused", message, UpstreamTokens(access_token=access_token))
        return _claims(answer)

    async def _get_userinfo(self, access_token: str) -> UpstreamAnswer:
        return await self._connection.get_userinfo(self._metadata.userinfo_endpoint, access_token)

    async def _post(self, form: Mapping[str, str]) -> UpstreamAnswer:
        """With the client's authentication (RFC 6749 §2.3.1)."""
        if self._secret and self._metadata.secret_method is None:
            message = "the provider accepts no client secret; set clientAuthentication.method: None"
            raise UpstreamFailed("Refused", message)
        if self._secret and self._metadata.secret_method == "client_secret_basic":  # noqa: S105  # the name of a method
            credentials = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}".encode()
            headers = {"Authorization": f"Basic {base64.b64encode(credentials).decode()}"}
            return await self._connection.post_token(self._metadata.token_endpoint, form, headers)
        credential = {"client_secret": self._secret} if self._secret else {}
        form = {**form, "client_id": self._client_id, **credential}
        return await self._connection.post_token(self._metadata.token_endpoint, form, {})


def _claims(answer: UpstreamAnswer, subject: str | None = None) -> dict[str, Any]:
    if answer.content_type == "application/jwt":
        message = "userinfo is signed, which is not supported: remove userinfo_signed_response_alg at the provider"
        raise LoginRefused("userinfo", message)
    claims = answer.require_ok().json()
    found = claims.get("sub")
    if not isinstance(found, str) or not 0 < len(found) <= MAX_SUBJECT:
        raise LoginRefused("userinfo", f"userinfo must have a sub of 1 to {MAX_SUBJECT} characters")
    if subject is not None and found != subject:
        raise LoginRefused("userinfo", "userinfo is of another user: sub is not that of the ID token")
    return claims


def _tokens(answer: UpstreamAnswer) -> TokenAnswer:
    if answer.status != 200:
        error = error_of(answer)
        shown_error = f" with {shown(error)}" if error else ""
        message = f"{answer.url} answered {answer.status}{shown_error}; check the client at the provider"
        raise UpstreamFailed("Refused", message)
    body = answer.json()
    is_bearer = str(body.get("token_type", "")).lower() == "bearer"
    refresh_token = _token(body.get("refresh_token"))
    return TokenAnswer(
        id_token=body.get("id_token"),
        access_token=_token(body.get("access_token")) if is_bearer else "",
        refresh_token=refresh_token if len(refresh_token) <= MAX_TOKEN else "",
    )


def _token(value: object) -> str:
    """A token in the characters of RFC 6749 Appendix A.12; empty for anything else."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else ""
