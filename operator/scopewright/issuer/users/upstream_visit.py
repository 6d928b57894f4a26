"""A visit of the browser to an OpenID provider: what the issuer asks there, and the user with whom it returns."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import closing
from typing import Any, Final, TypeVar

from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.login import UpstreamLogins, UpstreamRequest
from scopewright.issuer.users import flow
from scopewright.issuer.users.authorization_request import AuthorizationRequest
from scopewright.issuer.users.pool import SharedPlaces
from scopewright.issuer.users.step_context import ResumedAttempt, StepContext
from scopewright.issuer.users.stored import Session
from scopewright.upstream import UpstreamFailed

T = TypeVar("T")

VISIT_SECONDS: Final = 9.0
"""For all requests to the provider together: less than UserPool gives, so that the user sees which provider is slow."""


class UpstreamVisits:
    """Raises `UpstreamFailed` and PoolExhausted."""

    def __init__(self, context: StepContext, upstreams: UpstreamLogins) -> None:
        self._context = context
        self._upstreams = upstreams
        self._places = SharedPlaces()

    async def authorization_url(
        self, resumed: ResumedAttempt, provider: Provider, session: Session | None, *, another_user: bool = False
    ) -> str:
        """Return where the browser logs in. The provider is known to take the answer back to `/callback/<provider>`."""
        request = self._request(resumed, provider, session, another_user=another_user)
        return await self._bounded(provider, self._upstreams.authorization_url(provider, request))

    async def redeem(
        self, resumed: ResumedAttempt, provider: Provider, session: Session | None, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        """Return the user of the provider's answer. Raises `LoginRefused`."""
        request = self._request(resumed, provider, session)
        return await self._bounded(provider, self._upstreams.redeem(provider, request, parameters))

    async def _bounded(self, provider: Provider, visit: Coroutine[Any, Any, T]) -> T:
        with closing(visit), self._places.one(provider.uid):
            try:
                async with asyncio.timeout(VISIT_SECONDS):
                    return await visit
            except TimeoutError:
                raise UpstreamFailed("Unreachable", f"no answer to all requests within {VISIT_SECONDS} s") from None

    def _request(
        self, resumed: ResumedAttempt, provider: Provider, session: Session | None, *, another_user: bool = False
    ) -> UpstreamRequest:
        attempt, request = resumed.attempt, resumed.request
        fresh = flow.must_authenticate(request, session, self._context.clock())
        return UpstreamRequest(
            redirect_uri=self._context.url(f"callback/{provider.name}"),
            state=attempt.state(bound_to(provider)),
            nonce=attempt.nonce(bound_to(provider)),
            code_verifier=attempt.code_verifier(bound_to(provider)),
            started=attempt.started,
            fresh=fresh,
            max_age=request.max_age,
            prompt=_prompt(request, fresh=fresh, another_user=another_user),
            login_hint="" if another_user else request.login_hint,
            acr_values=request.acr_values,
            ui_locales=request.ui_locales,
        )


def bound_to(provider: Provider) -> str:
    """Return what the secrets of a visit are bound to: the provider, and the client that the issuer is there.

    A code is of use only where the browser was sent: if the record names another issuer in between, it gets neither the
    code nor the verifier (mix-up, RFC 9700 §4.4).
    """
    oidc = provider.record.oidc
    return "\n".join((provider.uid, oidc.issuer_url, oidc.client_id) if oidc else (provider.uid,))


def _prompt(request: AuthorizationRequest, *, fresh: bool, another_user: bool) -> tuple[str, ...]:
    """`login` for `select_account` too: only that is mandatory for providers (OpenID Connect Core §15.1), and some
    refuse or ignore the other one.
    """
    return ("login",) if fresh or another_user or "select_account" in request.prompt else ()
