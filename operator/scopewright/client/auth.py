"""The entry point of the package: `httpx.AsyncClient(auth=ClientCredentials(path))`."""

import os
import random
import threading
from collections.abc import Callable, Collection

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scopewright.bounded import BoundedDict
from scopewright.client.clock import Clock
from scopewright.client.destination import Destinations
from scopewright.client.dpop import Prover
from scopewright.client.grant import Flow, TokenParameters, fetch_token
from scopewright.client.httpx import HttpxAuth
from scopewright.client.mounted import MountedSecret
from scopewright.client.request_flow import TokenSender
from scopewright.client.shared_token import SharedToken
from scopewright.client.token import AccessToken
from scopewright.forks import restart_in_children
from scopewright.singleflight import Http

_MAX_SUBJECT_TOKENS = 1000


class ClientCredentials(HttpxAuth):
    """Sends `Authorization: Bearer` with a token for `resource` (RFC 8707) and `scope` (names, or space-delimited).

    Both default to the values in the Secret mounted at `path`. All threads and tasks that use this object share the
    token. It is renewed before it expires. If the API answers 401 `invalid_token`, the request is sent once more with
    a new token if it can be sent again; if not, the next request gets one. `http` replaces the HTTP client for the
    token endpoint (for example, for a private CA): a `Client`, or an `AsyncClient` if only async code uses this object.
    `jitter` returns a number in [0, 1). With `subject_token` the token is exchanged (RFC 8693); use `on_behalf_of`.
    Requests raise `TokenError` if there is no token, or if the token must not be sent to their URL.

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
        path: str | os.PathLike[str] | MountedSecret,
        resource: str | None = None,
        scope: str | Collection[str] | None = None,
        *,
        http: Http | None = None,
        dpop: bool | EllipticCurvePrivateKey | Prover = False,
        hosts: Collection[str] = (),
        allow_http: Collection[str] = (),
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        subject_token: str | None = None,
    ) -> None:
        self._clock = clock or Clock()
        self.secret = path if isinstance(path, MountedSecret) else MountedSecret(path, clock=self._clock)
        self._parameters = TokenParameters.from_arguments(resource, scope, subject_token)
        self._destinations = Destinations(hosts, allow_http)
        self._http = http
        self._prover = dpop if isinstance(dpop, Prover) else Prover.of(dpop)
        self._jitter = jitter
        tokens = SharedToken(self.secret.read, self._flow, http, self._clock, jitter)
        self.sender = TokenSender(tokens, self._destinations, self._prover, self._clock.now)
        self._on_behalf = BoundedDict[str, ClientCredentials](_MAX_SUBJECT_TOKENS)
        self._on_behalf_lock = threading.Lock()
        restart_in_children(self)

    def after_fork(self) -> None:
        """Called in a forked child."""
        self._on_behalf_lock = threading.Lock()

    def on_behalf_of(self, subject_token: str) -> "ClientCredentials":
        """For requests on behalf of a caller that sent this service `subject_token`: `client.get(url, auth=…)`.

        Returns the same object for the same token, so that it is exchanged once. The last 1000 are cached.
        """
        with self._on_behalf_lock:
            auth = self._on_behalf.get(subject_token) or self._exchanging(subject_token)
            self._on_behalf[subject_token] = auth
        return auth

    def _exchanging(self, subject_token: str) -> "ClientCredentials":
        return ClientCredentials(
            self.secret,
            self._parameters.resource,
            self._parameters.scope,
            http=self._http,
            dpop=self._prover or False,
            hosts=self._destinations.hosts,
            allow_http=self._destinations.allow_http,
            clock=self._clock,
            jitter=self._jitter,
            subject_token=subject_token,
        )

    async def token(self) -> AccessToken:
        """The current token. Raises `TokenError`. Waits, at most 30 s, only if there is no valid token."""
        tokens = self.sender.tokens
        flight = tokens.begin()
        return tokens.result(in_time=flight is None or await tokens.wait(flight))

    def token_sync(self) -> AccessToken:
        """`token` for threads."""
        tokens = self.sender.tokens
        flight = tokens.begin()
        return tokens.result(in_time=flight is None or tokens.wait_sync(flight))

    def _flow(self) -> Flow:
        return fetch_token(
            lambda now: self.secret.read(now=now),
            self._parameters,
            self._clock.now,
            self._jitter,
            self._prover,
            self._destinations.allow_http,
        )
