"""The entry point of the package: `httpx.AsyncClient(auth=ClientCredentials())`."""

import copy
import os
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Self, TypedDict, Unpack

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scopewright.client.clock import Clock
from scopewright.client.credentials import CredentialSource
from scopewright.client.destination import Destinations
from scopewright.client.dpop import Prover
from scopewright.client.endpoints import Endpoints
from scopewright.client.given import CredentialValues
from scopewright.client.grant import TokenParameters, fetch_token
from scopewright.client.httpx import HttpxAuth
from scopewright.client.inspection import introspect, revoke
from scopewright.client.issuer_request import IssuerContext
from scopewright.client.request_flow import TokenSender
from scopewright.client.shared_token import SharedToken
from scopewright.client.sources import PREFIX, ChosenSource, Environment, choose_source, find_credentials
from scopewright.client.token import AccessToken, TokenHolder, token_text
from scopewright.client.unshared import UnsharedRequests
from scopewright.client.variants import Variants
from scopewright.singleflight import Http


class ClientOptions(TypedDict, total=False):
    """The options of `ClientCredentials.from_env`. They precede the environment variables."""

    resource: str | None
    scope: str | Collection[str] | None
    http: Http | None
    dpop: bool | EllipticCurvePrivateKey
    hosts: Collection[str]
    allow_http: Collection[str]
    clock: Clock | None
    jitter: Callable[[], float]


class ClientCredentials(HttpxAuth):
    """Sends `Authorization: Bearer` with a token for `resource` (RFC 8707) and `scope` (names, or space-delimited).

    The credential is that of the Secret mounted at `path`, which may be a `MountedSecret` or another
    `CredentialSource`; or `client_id` and `issuer` with one of `client_secret`, `private_key` (a JWK) and
    `service_account_token` (the file of a projected token). Without these arguments it is looked for in
    `SCOPEWRIGHT_SECRET_DIR`, `SCOPEWRIGHT_CLIENT_ID`, `SERVICE_BINDING_ROOT` and `/var/run/secrets/oauth`; then
    `SCOPEWRIGHT_ALLOW_HTTP` is read too. The first that exists is used. Raises `SecretError` if there is none, or if it
    is incomplete, and ValueError for arguments that contradict each other.

    Both `resource` and `scope` default to the values in the Secret. All threads and tasks that use this object share
    the token. It is renewed before it expires. If the API answers 401 `invalid_token`, the request is sent once more
    with a new token if it can be sent again; if not, the next request gets one. `http` replaces the HTTP client for the
    issuer (for example, for a private CA): a `Client`, or an `AsyncClient` if only async code uses this object.
    `jitter` returns a number in [0, 1). Without `token_endpoint`, the metadata of the issuer names it. Requests raise
    `TokenError` if there is no token, or if the token must not be sent to their URL.

    The token is sent to the origin of each request, or only to `hosts` if they are given; it does not follow a redirect
    to another origin. Plain HTTP is refused except to loopback and to the hosts of `allow_http`. An entry of either is
    a host, or `host:port`.

    With `dpop` the tokens are bound to a key (RFC 9449): a new one in memory, or the given P-256 key. Every request
    then has `Authorization: DPoP` and a proof for its method and URL. If the issuer or the API requires a nonce, the
    request is sent once more with it.

    A forked child fetches its own tokens; it needs its own object if `http` is given.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | CredentialSource | None = None,
        resource: str | None = None,
        scope: str | Collection[str] | None = None,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        private_key: str | None = None,
        service_account_token: str | os.PathLike[str] | None = None,
        issuer: str | None = None,
        token_endpoint: str | None = None,
        http: Http | None = None,
        dpop: bool | EllipticCurvePrivateKey = False,
        hosts: Collection[str] = (),
        allow_http: Collection[str] = (),
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        if not isinstance(http, httpx.Client | httpx.AsyncClient | None):
            raise TypeError(f"http= takes an httpx.Client or httpx.AsyncClient, not {type(http).__name__}")
        self._clock = clock or Clock()
        values = CredentialValues(client_id, client_secret, private_key, service_account_token, issuer, token_endpoint)
        chosen = choose_source(path, values, allow_http, self._clock)
        self.source = chosen.source
        self._destinations = Destinations(hosts, chosen.allow_http, chosen.names)
        self._prover = Prover.of(dpop)
        self._http = http
        endpoints = Endpoints(self._destinations.allow_http, self._clock.now, chosen.names)
        self._context = IssuerContext(self.source, endpoints, self._clock.now, jitter, chosen.names)
        self._unshared = UnsharedRequests(http, self._clock)
        self._variants = Variants[Self]()
        self._use(TokenParameters.from_arguments(resource, scope))

    def __call__(self, *_: object) -> None:
        """Raises TypeError: requests calls any other `auth` than its own. None, so that no type checker accepts it."""
        raise TypeError(
            "requests takes a RequestsAuth as auth: scopewright.client.requests.RequestsAuth(credentials), and not "
            f"{type(self).__name__} itself"
        )

    def _use(self, parameters: TokenParameters) -> None:
        """Begin with no token, for these parameters."""
        self._parameters = parameters
        tokens = SharedToken(
            self.source.read,
            lambda: fetch_token(parameters, self._context, self._prover),
            self._http,
            self._clock,
            self._context.jitter,
        )
        self.sender = TokenSender(tokens, self._destinations, self._prover, self._clock.now)

    @classmethod
    def from_env(cls, prefix: str = PREFIX, **options: Unpack[ClientOptions]) -> Self:
        """As without arguments, and `resource`, `scope` and `allow_http` are those of `SCOPEWRIGHT_RESOURCE`, `_SCOPE`
        and `_ALLOW_HTTP`. Several scopes or hosts are separated by spaces or commas.

        Another `prefix` names the variables of another client, such as `PAYROLL_CLIENT_ID`; only these are read then.
        """
        environment = Environment(prefix)
        found = find_credentials(environment, options.get("clock") or Clock())
        defaults = ClientOptions(
            resource=environment.resource, scope=environment.scope, allow_http=environment.allow_http
        )
        source = ChosenSource(found, environment.allow_http, environment.option_names(options))
        return cls(source, **(defaults | options))

    def for_resource(self, resource: str, scope: str | Collection[str] | None = None) -> Self:
        """For requests to another API with the same credential, options and key: `client.get(url, auth=…)`.

        Returns the same object for the same arguments, so that a token is fetched once. The last 1000 objects of this
        method and `on_behalf_of` are cached.
        """
        if not resource:
            raise ValueError("for_resource needs the audience of an API, and it is empty")
        return self._variant(TokenParameters.from_arguments(resource, scope, self._parameters.subject_token))

    def on_behalf_of(self, subject_token: TokenHolder | str) -> Self:
        """For requests on behalf of a caller that sent this service `subject_token` (RFC 8693): its text, or the
        verified token.

        Returns the same object for the same token, so that it is exchanged once.
        """
        subject = token_text("on_behalf_of", subject_token)
        return self._variant(replace(self._parameters, subject_token=subject))

    def _variant(self, parameters: TokenParameters) -> Self:
        self.sender.tokens.check_process()
        return (
            self if parameters == self._parameters else self._variants.get(parameters, lambda: self._copy(parameters))
        )

    def _copy(self, parameters: TokenParameters) -> Self:
        copied = copy.copy(self)
        copied._use(parameters)  # noqa: SLF001  # of the same class
        return copied

    async def token(self) -> AccessToken:
        """The current token. Raises `TokenError`. Waits, at most 30 s, only if there is no valid token."""
        tokens = self.sender.tokens
        flight = tokens.begin()
        return tokens.result(in_time=flight is None or await tokens.wait(flight))

    def token_sync(self) -> AccessToken:
        """`token` for threads. Raises RuntimeError if `http` is an `AsyncClient`."""
        tokens = self.sender.tokens
        tokens.check_sync()
        flight = tokens.begin()
        return tokens.result(in_time=flight is None or tokens.wait_sync(flight))

    def invalidate(self, token: TokenHolder | str) -> None:
        """The next caller gets a new token, at most once in ten seconds. Another token than the current is ignored."""
        self.sender.tokens.refuse(token_text("invalidate", token))

    async def introspect(self, token: TokenHolder | str) -> Mapping[str, Any]:
        """The issuer's answer about a token that this client may see (RFC 7662): `active` is False for any other.

        Raises `TokenError`. Each call is a request, and waits at most 30 s.
        """
        text = token_text("introspect", token)
        self.sender.tokens.check_process()
        return await self._unshared.run(introspect(text, self._context))

    def introspect_sync(self, token: TokenHolder | str) -> Mapping[str, Any]:
        """`introspect` for threads."""
        text = token_text("introspect_sync", token)
        self.sender.tokens.check_process()
        return self._unshared.run_sync(introspect(text, self._context))

    async def revoke(self, token: TokenHolder | str) -> None:
        """End a token of this client (RFC 7009). The token of another client is not revoked, without an error.

        Raises `TokenError` if the revocation may not be stored. Waits at most 30 s.
        """
        text = token_text("revoke", token)
        self.sender.tokens.check_process()
        await self._unshared.run(revoke(text, self._context))
        self.sender.tokens.discard(text)

    def revoke_sync(self, token: TokenHolder | str) -> None:
        """`revoke` for threads."""
        text = token_text("revoke_sync", token)
        self.sender.tokens.check_process()
        self._unshared.run_sync(revoke(text, self._context))
        self.sender.tokens.discard(text)


def sender_of(credentials: ClientCredentials, adapter: str) -> TokenSender:
    """For the adapters. Raises TypeError for anything else than credentials, such as the path of a Secret."""
    if not isinstance(credentials, ClientCredentials):
        given = type(credentials).__name__
        raise TypeError(f"{adapter} takes a ClientCredentials object, such as ClientCredentials(), not {given}")
    return credentials.sender
