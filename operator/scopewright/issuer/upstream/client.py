"""The issuer as a client of all OpenID providers."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from scopewright.bounded import BoundedDict
from scopewright.core.records.identity_provider import UpstreamClient
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser, UpstreamTokens
from scopewright.issuer.upstream.connection import Observe, Operation, ProviderConnection, Within
from scopewright.issuer.upstream.failure_log import FailureLog
from scopewright.issuer.upstream.login import UpstreamRequest
from scopewright.issuer.upstream.provider_client import ProviderClient
from scopewright.issuer.upstream.refetched import Timer
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.http import UpstreamHttp
from scopewright.upstream.resolver import Resolver

MAX_PROVIDERS: Final = 256
"""Whose metadata and keys are kept."""


@dataclass(frozen=True, slots=True)
class _Connected:
    oidc: UpstreamClient
    ca_certificates: str
    connection: ProviderConnection
    http: UpstreamHttp


class OpenIDLogins:
    """Implements `UpstreamLogins`. Its methods raise `UpstreamFailed`, and need the event loop of the first call.

    The metadata and keys of a provider are kept until its record has another `oidc` or other certificates.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool = False,
        observe: Observe = lambda provider, operation, result: None,
        within: Within = lambda provider, operation: nullcontext(),
        clock: Callable[[], float] = time.time,
        timer: Timer = time.monotonic,
    ) -> None:
        """`clock` is in seconds since the epoch, `timer` in seconds that only increase.

        Failures are logged, whatever `observe` does.
        """
        self._allow_loopback = allow_loopback
        self._observe = observe
        self._within = within
        self._failures = FailureLog(timer)
        self._clock = clock
        self._timer = timer
        self._resolver = Resolver()
        self._connected: BoundedDict[str, _Connected] = BoundedDict(MAX_PROVIDERS)
        """By the UID of the provider."""

    async def authorization_url(self, provider: Provider, request: UpstreamRequest) -> str:
        return await self._client(provider).authorization_url(request)

    async def redeem(
        self, provider: Provider, request: UpstreamRequest, parameters: Mapping[str, str]
    ) -> AuthenticatedUser:
        return await self._client(provider).redeem(request, parameters)

    async def confirm(self, provider: Provider, subject: str, tokens: UpstreamTokens) -> AuthenticatedUser:
        return await self._client(provider).confirm(subject, tokens)

    async def aclose(self) -> None:
        for connected in self._connected.values():
            connected.connection.close()
            await connected.http.aclose()
        self._connected.clear()
        self._resolver.close()

    def _client(self, provider: Provider) -> ProviderClient:
        oidc = provider.record.oidc
        if oidc is None:
            raise ValueError(f"the users of {provider.name} are static")
        connected = self._connected.get(provider.uid)
        if connected is None or (connected.oidc, connected.ca_certificates) != (oidc, provider.ca_certificates):
            # An earlier connection needs no end: its requests go on, and none of its sockets is idle.
            connected = self._connected[provider.uid] = self._connect(provider, oidc)
        return ProviderClient(provider, oidc, connected.connection, self._clock)

    def _report(self, provider: str, operation: Operation, failure: UpstreamFailed | None) -> None:
        self._failures(provider, operation, failure)
        self._observe(provider, operation, failure.reason if failure else "ok")

    def _connect(self, provider: Provider, oidc: UpstreamClient) -> _Connected:
        try:
            http = UpstreamHttp(provider.ca_certificates, allow_loopback=self._allow_loopback, resolve=self._resolver)
        except UpstreamFailed as failure:
            self._report(provider.name, "discovery", failure)
            raise
        connection = ProviderConnection(
            provider.name,
            oidc,
            http,
            allow_loopback=self._allow_loopback,
            report=self._report,
            within=self._within,
            timer=self._timer,
        )
        return _Connected(oidc, provider.ca_certificates, connection, http)
