"""The issuer as a client of one OpenID provider: a login, and the questions about its user afterwards."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from scopewright import base64url
from scopewright.core.records.identity_provider import UpstreamClient
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.claims import UpstreamClaims, lacks_mapped_claim, user_of
from scopewright.issuer.upstream.connection import ProviderConnection
from scopewright.issuer.upstream.id_token import IdTokenRules, parse_id_token, verify_id_token
from scopewright.issuer.upstream.login import (
    CheckFailed,
    LoginEnded,
    LoginRefused,
    LoginUnconfirmable,
    UpstreamRequest,
)
from scopewright.issuer.upstream.provider_endpoints import MAX_TOKEN, ProviderEndpoints, TokenAnswer
from scopewright.issuer.upstream.response import code_of
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.discovery import ProviderMetadata

_ANY_AGE: Final = 10 * 365 * 24 * 3600
"""As `max_age`, in seconds: it makes no user log in again, and the ID token must have `auth_time` (§2 there)."""


class ProviderClient:
    """All methods raise `UpstreamFailed`. `oidc` is that of the provider's record."""

    def __init__(
        self, provider: Provider, oidc: UpstreamClient, connection: ProviderConnection, clock: Callable[[], float]
    ) -> None:
        self._provider = provider
        self._oidc = oidc
        self._connection = connection
        self._clock = clock

    async def authorization_url(self, request: UpstreamRequest) -> str:
        """Return where to send the browser (OpenID Connect Core §3.1.2.1)."""
        metadata = await self._connection.metadata()
        endpoint = metadata.authorization_endpoint
        challenge = hashlib.sha256(request.code_verifier.encode()).digest()
        is_offline = self._oidc.offline_access == "AccessType"
        prompt = _prompt(request, metadata, ("consent",) if is_offline else ())
        max_age = request.max_age
        if request.fresh and "login" not in prompt:
            max_age = 0  # asks the same (§3.1.2.1); whether the user has logged in is seen in the ID token
        elif max_age is None and self._oidc.reauthentication == "Verified":
            max_age = _ANY_AGE
        optional = {
            "access_type": "offline" if is_offline else "",  # as Google wants, which has no scope offline_access
            "prompt": " ".join(prompt),
            "max_age": "" if max_age is None else str(max_age),
            "login_hint": request.login_hint,
            "acr_values": request.acr_values,
            "ui_locales": request.ui_locales,
        }
        query = {
            "response_type": "code",
            "client_id": self._oidc.client_id,
            "redirect_uri": request.redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *self._oidc.scopes))),
            "state": request.state,
            "nonce": request.nonce,
            "code_challenge": base64url.encode(challenge),
            "code_challenge_method": "S256",
            **{name: value for name, value in optional.items() if value},
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def redeem(self, request: UpstreamRequest, parameters: Mapping[str, str]) -> AuthenticatedUser:
        """Raises `LoginRefused`."""
        metadata = await self._connection.metadata()
        code = code_of(parameters, metadata)
        endpoints = ProviderEndpoints(self._provider, self._connection, metadata)
        answer = await endpoints.redeem(request, code)
        if answer.id_token is None:
            raise LoginRefused("id_token", "the answer has no ID token; scopes must have openid")
        now = self._clock()
        rules = IdTokenRules(
            issuer=metadata.issuer,
            client_id=self._oidc.client_id,
            now=now,
            nonce=request.nonce,
            access_token=answer.access_token,
            authenticated_since=_authenticated_since(request, now),
            is_auth_time_required=self._oidc.reauthentication == "Verified"
            and (request.fresh or request.max_age is not None),
        )
        id_token = await self._verified(answer, rules)
        userinfo = await self._userinfo(endpoints, metadata, answer, id_token)
        user = user_of(self._provider.record, UpstreamClaims(id_token, userinfo), self._auth_time(id_token, now))
        return replace(user, upstream=self._kept(answer, metadata))

    async def confirm(self, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        """Raises `LoginEnded`, `LoginUnconfirmable`, or `LoginRefused` with `too_many_groups`.

        See `UpstreamLogins.confirm`.
        """
        if not tokens.refresh_token and not tokens.access_token:
            message = "the provider gave no token to ask again with; add offline_access to scopes"
            raise LoginUnconfirmable("Refused", message, tokens)
        metadata = await self._connection.metadata()
        endpoints = ProviderEndpoints(self._provider, self._connection, metadata)
        if tokens.refresh_token:
            answer = await endpoints.refresh(tokens.refresh_token)
            kept = UpstreamTokens(refresh_token=answer.refresh_token or tokens.refresh_token)
        else:
            answer = TokenAnswer(None, tokens.access_token, "")
            kept = tokens
        try:
            user = await self._confirmed(endpoints, metadata, answer, kept)
        except LoginUnconfirmable:
            raise
        except UpstreamFailed as failure:
            raise CheckFailed(failure.reason, failure.message, kept) from None
        except LoginRefused as refused:
            if refused.reason == "too_many_groups":
                raise LoginRefused(refused.reason, refused.detail, kept) from None
            raise CheckFailed("AnswerMalformed", refused.detail, kept) from None
        if user.subject != subject:
            raise LoginEnded
        return replace(user, upstream=kept)

    async def _confirmed(
        self, endpoints: ProviderEndpoints, metadata: ProviderMetadata, answer: TokenAnswer, kept: UpstreamTokens
    ) -> AuthenticatedUser:
        """The user of an answer after the login, which may have no ID token (OpenID Connect Core §12.2).

        Raises `LoginUnconfirmable` with the tokens `kept`.
        """
        id_token: Mapping[str, Any] = {}
        if answer.id_token is not None:
            rules = IdTokenRules(metadata.issuer, self._oidc.client_id, self._clock(), access_token=answer.access_token)
            id_token = await self._verified(answer, rules)
            userinfo = await self._userinfo(endpoints, metadata, answer, id_token)
        elif answer.access_token and self._has_userinfo(metadata):
            ask = endpoints.userinfo if kept.refresh_token else endpoints.userinfo_after_login
            userinfo = await ask(answer.access_token)
        else:
            message = "the provider answers a refresh with neither an ID token nor userinfo"
            raise LoginUnconfirmable("Refused", message, kept)
        return user_of(self._provider.record, UpstreamClaims(id_token, userinfo), auth_time=0)

    async def _verified(self, answer: TokenAnswer, rules: IdTokenRules) -> dict[str, Any]:
        signed = parse_id_token(answer.id_token, self._oidc.signing_algorithms)
        key = await self._connection.key(signed)
        return verify_id_token(signed, key, rules)

    async def _userinfo(
        self, endpoints: ProviderEndpoints, metadata: ProviderMetadata, answer: TokenAnswer, id_token: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The claims of userinfo beside an ID token; empty if they are not wanted."""
        mode = self._oidc.userinfo
        is_missing = lacks_mapped_claim(id_token, self._provider.record.claims)
        if mode == "Never" or (mode == "IfMissing" and not is_missing):
            return {}
        if answer.access_token and metadata.userinfo_endpoint:
            return await endpoints.userinfo(answer.access_token, id_token["sub"])
        if mode == "Always":
            raise LoginRefused("userinfo", "the provider has no userinfo, or gave no bearer token for it")
        return {}

    def _has_userinfo(self, metadata: ProviderMetadata) -> bool:
        return bool(metadata.userinfo_endpoint) and self._oidc.userinfo != "Never"

    def _kept(self, answer: TokenAnswer, metadata: ProviderMetadata) -> UpstreamTokens:
        """Return the tokens to store, with which the provider is asked again."""
        if answer.refresh_token:
            return UpstreamTokens(refresh_token=answer.refresh_token)
        is_kept = self._has_userinfo(metadata) and len(answer.access_token) <= MAX_TOKEN
        return UpstreamTokens(access_token=answer.access_token if is_kept else "")

    def _auth_time(self, id_token: Mapping[str, Any], now: float) -> int:
        """When the user logged in; 0 if it is not known, so that no `max_age` is met."""
        if (auth_time := id_token.get("auth_time")) is not None:
            return int(min(auth_time, now))
        return int(now) if self._oidc.reauthentication == "Trusted" else 0


def _prompt(request: UpstreamRequest, metadata: ProviderMetadata, always: tuple[str, ...]) -> tuple[str, ...]:
    """Only values that the provider accepts. In place of `login`, it may let the user choose an account at least."""
    asked = (*request.prompt, *always)
    wanted = tuple(dict.fromkeys(asked if not request.fresh else ("login", *asked)))
    if not metadata.prompts:
        return wanted
    if "login" in wanted and "login" not in metadata.prompts:
        wanted = ("select_account", *wanted)
    return tuple(value for value in dict.fromkeys(wanted) if value in metadata.prompts)


def _authenticated_since(request: UpstreamRequest, now: float) -> float | None:
    limits = ([request.started] if request.fresh else []) + (
        [now - request.max_age] if request.max_age is not None else []
    )
    return max(limits, default=None)
