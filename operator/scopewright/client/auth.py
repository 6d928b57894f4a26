"""The entry point of the package: `httpx.AsyncClient(auth=ClientCredentials(path))`."""

import logging
import os
import random
import re
import threading
from collections.abc import AsyncGenerator, Callable, Collection, Generator
from concurrent.futures import Future
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from scopewright.bounded import BoundedDict
from scopewright.client.clock import Clock
from scopewright.client.destination import Destinations, stay_with_origin
from scopewright.client.dpop import Prover
from scopewright.client.errors import TokenError
from scopewright.client.grant import Flow, Granted, TokenParameters, fetch_token
from scopewright.client.mounted import MountedSecret
from scopewright.client.renewal import TokenRenewal
from scopewright.client.token import AccessToken
from scopewright.client.transport import run, run_sync
from scopewright.forks import restart_in_children
from scopewright.origins import origin
from scopewright.singleflight import MAX_WAIT_SECONDS, Fetch, Http, SingleFlight

logger = logging.getLogger("scopewright.client")

_MAX_SUBJECT_TOKENS = 1000
_INVALID_TOKEN = re.compile(r'\b(bearer|dpop)\b.*\berror="?invalid_token"?', re.IGNORECASE)
_USE_NONCE = re.compile(r'\bdpop\b.*\berror="?use_dpop_nonce"?', re.IGNORECASE)


class ClientCredentials(httpx.Auth):
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
        self._renewal = TokenRenewal()
        fetch = Fetch(
            lambda client: run_sync(self._flow(), client, self._clock),
            lambda client: run(self._flow(), client, self._clock),
        )
        self._fetching = SingleFlight("token", "ClientCredentials", http, fetch, self._on_fetched)
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
        flight = self._begin()
        return self._result(in_time=flight is None or await self._fetching.wait(flight))

    def token_sync(self) -> AccessToken:
        """`token` for threads."""
        flight = self._begin()
        return self._result(in_time=flight is None or self._fetching.wait_sync(flight))

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        stay_with_origin(request, asynchronous=True)
        steps = self._steps(request)
        step = next(steps)
        while True:
            answer = (yield step) if isinstance(step, httpx.Request) else await self._fetching.wait(step)
            try:
                step = steps.send(answer)
            except StopIteration:
                return

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        stay_with_origin(request, asynchronous=False)
        steps = self._steps(request)
        step = next(steps)
        while True:
            answer = (yield step) if isinstance(step, httpx.Request) else self._fetching.wait_sync(step)
            try:
                step = steps.send(answer)
            except StopIteration:
                return

    def _steps(self, request: httpx.Request) -> Generator[httpx.Request | Future[None], Any, None]:
        """The auth flow of one request. Yields requests, and receives their responses; yields fetches to wait for, and
        receives whether they ended in time.
        """
        self._destinations.check(request.url)
        token = yield from self._current()
        response = yield self._with(token, request)
        if self._requires_nonce(request, response) and _can_be_sent_again(request):
            response = yield self._with(token, request)
        if self._is_refused(token, request, response) and _can_be_sent_again(request):
            try:
                fresh = yield from self._current()
            except TokenError:
                return  # the caller gets the response of the API
            if fresh is not token:
                self._requires_nonce(request, (yield self._with(fresh, request)))

    def _current(self) -> Generator[Future[None], bool, AccessToken]:
        flight = self._begin()
        return self._result(in_time=flight is None or (yield flight))

    def _with(self, token: AccessToken, request: httpx.Request) -> httpx.Request:
        if self._prover is None:
            request.headers["Authorization"] = f"Bearer {token.value}"
        else:
            request.headers["Authorization"] = f"DPoP {token.value}"
            request.headers["DPoP"] = self._prover.proof(request.method, request.url, self._clock.now(), token.value)
        return request

    def _requires_nonce(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether the API requires a proof with the nonce of its response. Keeps the nonce of any response."""
        if self._prover is None or not self._prover.keep_nonce(response.request.url, response.headers):
            return False
        return _refuses(_USE_NONCE, request, response)

    def _is_refused(self, token: AccessToken, request: httpx.Request, response: httpx.Response) -> bool:
        """Whether the API answered that the token is invalid. The next caller then fetches another one."""
        if not _refuses(_INVALID_TOKEN, request, response):
            return False
        with self._fetching.lock:
            self._renewal.refuse(self._clock.now(), token)
        return True

    def _begin(self) -> Future[None] | None:
        """The fetch to wait for, if any."""
        self._fetching.check_process()
        credentials = self.secret.read()
        return self._fetching.begin(lambda: self._renewal.need(self._clock.now(), credentials))

    def _result(self, *, in_time: bool) -> AccessToken:
        with self._fetching.lock:
            token, error = self._renewal.token, self._renewal.error
        if token is not None and self._clock.now() < token.expires_at:
            return token
        if not in_time:
            raise TokenError("temporarily_unavailable", f"no token within {MAX_WAIT_SECONDS:.0f} s; try again")
        raise error.again() if error is not None else TokenError("temporarily_unavailable", "no token; try again")

    def _flow(self) -> Flow:
        return fetch_token(
            lambda now: self.secret.read(now=now),
            self._parameters,
            self._clock.now,
            self._jitter,
            self._prover,
            self._destinations.allow_http,
        )

    def _on_fetched(self, outcome: Granted | BaseException) -> None:
        if isinstance(outcome, BaseException):
            error = outcome if isinstance(outcome, TokenError) else _unexpected(outcome)
            self._renewal.failed(error, self._clock.now())
            logger.warning("cannot get a token from the issuer: %s", error)
        else:
            self._renewal.received(*outcome, self._jitter())


def _unexpected(outcome: object) -> TokenError:
    # The text of an unknown exception is omitted, because it may contain secrets.
    return TokenError("temporarily_unavailable", f"the token request ended with {type(outcome).__name__}; try again")


def _refuses(why: re.Pattern[str], request: httpx.Request, response: httpx.Response) -> bool:
    """Whether the API itself refused the request for this reason (RFC 6750 §3.1). A redirect elsewhere has no token."""
    return (
        response.status_code == 401
        and origin(response.request.url) == origin(request.url)
        and any(why.search(challenge) for challenge in response.headers.get_list("www-authenticate"))
    )


def _can_be_sent_again(request: httpx.Request) -> bool:
    """False for a streamed body, which cannot be read twice."""
    try:
        _ = request.content
    except httpx.RequestNotRead:
        return False
    return True
