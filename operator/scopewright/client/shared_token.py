"""The token that all threads and tasks share: fetched once, renewed in the background, replaced after a refusal."""

import logging
from collections.abc import Callable, Generator
from concurrent.futures import Future

import httpx

from scopewright.client.clock import Clock
from scopewright.client.credentials import MountedCredentials
from scopewright.client.errors import TokenError, unavailable, unexpected
from scopewright.client.grant import Granted
from scopewright.client.issuer_request import Flow
from scopewright.client.renewal import TokenRenewal
from scopewright.client.token import AccessToken
from scopewright.client.transport import run, run_sync
from scopewright.singleflight import MAX_WAIT_SECONDS, Fetch, Http, SingleFlight

logger = logging.getLogger("scopewright.client")


class SharedToken:
    """One token, for one client, resource and scope. `read` returns the credentials as they are now, and `fetch` is the
    token request with them. `jitter` returns a number in [0, 1).
    """

    def __init__(
        self,
        read: Callable[[], MountedCredentials],
        fetch: Callable[[], Flow[Granted]],
        http: Http | None,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._read = read
        self._clock = clock
        self._jitter = jitter
        self._renewal = TokenRenewal()
        with_either = Fetch(lambda client: run_sync(fetch(), client, clock), lambda client: run(fetch(), client, clock))
        self._fetching = SingleFlight("token", "ClientCredentials", http, with_either, self._on_fetched)
        self.check_process = self._fetching.check_process
        self.check_sync = self._fetching.check_sync
        self.needs_event_loop = isinstance(http, httpx.AsyncClient)
        self.wait = self._fetching.wait
        self.wait_sync = self._fetching.wait_sync

    def current(self) -> Generator[Future[None], bool, AccessToken]:
        """The current token. Raises `TokenError`. Yields the fetch to wait for, if any; receives whether it ended."""
        flight = self.begin()
        return self.result(in_time=flight is None or (yield flight))

    def begin(self) -> Future[None] | None:
        """The fetch to wait for, if any."""
        self.check_process()
        credentials = self._read()
        return self._fetching.begin(lambda: self._renewal.need(self._clock.now(), credentials))

    def result(self, *, in_time: bool = True) -> AccessToken:
        """The token after the fetch. Raises `TokenError`."""
        with self._fetching.lock:
            token, error = self._renewal.token, self._renewal.error
        if token is not None and self._clock.now() < token.expires_at:
            return token
        if not in_time:
            raise unavailable(f"no token within {MAX_WAIT_SECONDS:.0f} s; try again")
        raise error.again() if error is not None else unavailable("no token; try again")

    def refuse(self, value: str) -> None:
        """The API refused the token with this value: the next caller fetches another one."""
        with self._fetching.lock:
            self._renewal.refuse(self._clock.now(), value)

    def discard(self, value: str) -> None:
        """The token with this value has been revoked: it is used no more."""
        with self._fetching.lock:
            self._renewal.discard(value)

    def _on_fetched(self, outcome: Granted | BaseException) -> None:
        if isinstance(outcome, BaseException):
            error = outcome if isinstance(outcome, TokenError) else unexpected(outcome)
            self._renewal.failed(error, self._clock.now())
            logger.warning("cannot get a token from the issuer: %s", error)
        else:
            self._renewal.received(*outcome, self._jitter())
