"""Fetches the issuer's keys and revocations. Does the I/O only.

`discovery` has the requests; `keycache` and `feedcache` decide when to fetch.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

import httpx

from scopewright.singleflight import MAX_WAIT_SECONDS, Fetch, Http, HttpResponse, RefreshDecision, SingleFlight
from scopewright.verifier.discovery import (
    Fetched,
    FetchedFeed,
    FetchError,
    Flow,
    IssuerMismatch,
    KeySource,
    fetch_feed,
    fetch_keys,
    secure_url,
)
from scopewright.verifier.feedcache import FeedCache
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import KeysUnavailable

logger = logging.getLogger("scopewright.verifier")

T = TypeVar("T")
_DEADLINE_SECONDS = 15.0  # for a whole fetch, even if the body arrives slowly


class RemoteKeys:
    def __init__(self, source: KeySource, http: Http | None, clock: Callable[[], float], cache: KeyCache) -> None:
        self.cache = cache
        self._source = source
        self._discovered = source
        self._clock = clock
        self._error: BaseException | None = None
        self._fetching = SingleFlight("jwks", "Verifier", http, _fetch(self._flow), self._on_fetched)

    async def ready(self, seconds: float = MAX_WAIT_SECONDS) -> KeySet:
        """The issuer's keys, fetched if none are cached. Raises `KeysUnavailable`, after `seconds` at the latest."""
        if (flight := self._begin()) is not None:
            await self._fetching.wait(flight, seconds)
        return self._keys()

    def ready_sync(self, seconds: float = MAX_WAIT_SECONDS) -> KeySet:
        if (flight := self._begin()) is not None:
            self._fetching.wait_sync(flight, seconds)
        return self._keys()

    async def ready_for_unknown_kid(self) -> KeySet:
        """The keys after a fetch for an unknown kid. Raises `KeysUnavailable` if the issuer could not be reached."""
        flight = self._begin_for_unknown_kid()
        in_time = flight is None or await self._fetching.wait(flight)
        return self._keys(asked=True, in_time=in_time)

    def ready_for_unknown_kid_sync(self) -> KeySet:
        flight = self._begin_for_unknown_kid()
        in_time = flight is None or self._fetching.wait_sync(flight)
        return self._keys(asked=True, in_time=in_time)

    def _keys(self, *, asked: bool = False, in_time: bool = True) -> KeySet:
        keys = self.cache.keys
        if keys is None or (asked and not (in_time and self.cache.reachable)):
            raise unavailable(self.cache.retry_at - self._clock(), self._error, self._source.issuer)
        return keys

    def _begin(self) -> Future[None] | None:
        self._fetching.check_process()
        if self.cache.need(self._clock()) in (RefreshDecision.NOTHING, RefreshDecision.WAIT):
            return None
        return self._fetching.begin(lambda: self.cache.need(self._clock()))

    def _begin_for_unknown_kid(self) -> Future[None] | None:
        return self._fetching.join(lambda: self.cache.need_for_unknown_kid(self._clock()))

    def _flow(self) -> Flow[Fetched]:
        return fetch_keys(self._discovered, self.cache.keys, self.cache.etag)

    def _on_fetched(self, outcome: Fetched | BaseException) -> None:
        if isinstance(outcome, Fetched):
            self._error = None
            self.cache.received(outcome, self._clock())
            self._discovered = self._source.with_jwks_uri(outcome.jwks_uri)
        else:
            self._error = outcome.with_traceback(None)
            self.cache.failed(self._clock())
            self._discovered = self._source  # the JWKS may have moved: repeat discovery
            logger.warning("cannot fetch the keys of %s: %s", self._source.issuer, _described(outcome))


class RemoteFeed:
    """Polls the feed while the service is used. The first request after an idle time waits for a fetch."""

    def __init__(
        self, source: KeySource, uri: str | None, http: Http | None, clock: Callable[[], float], cache: FeedCache
    ) -> None:
        if uri is not None:
            secure_url(uri, source.allow_http)
        self.cache = cache
        self._source = source
        self._configured_uri = uri
        self._uri = uri
        self._clock = clock
        self._error: BaseException | None = None
        self._fetching = SingleFlight("revocations", "Verifier", http, _fetch(self._flow), self._on_fetched)

    async def ready(self, seconds: float = MAX_WAIT_SECONDS) -> None:
        """Fetches the feed into the cache if it is due. Raises `KeysUnavailable`, after `seconds` at the latest."""
        if (flight := self._begin()) is not None:
            await self._fetching.wait(flight, seconds)
        self._require_usable()

    def ready_sync(self, seconds: float = MAX_WAIT_SECONDS) -> None:
        if (flight := self._begin()) is not None:
            self._fetching.wait_sync(flight, seconds)
        self._require_usable()

    def _begin(self) -> Future[None] | None:
        if self.cache.need(self._clock()) in (RefreshDecision.NOTHING, RefreshDecision.WAIT):
            return None
        return self._fetching.begin(lambda: self.cache.need(self._clock()))

    def _require_usable(self) -> None:
        now = self._clock()
        if now >= self.cache.due and not self.cache.usable(now):
            raise unavailable(self.cache.retry_at - now, self._error, self._source.issuer)

    def _flow(self) -> Flow[FetchedFeed]:
        return fetch_feed(self._source, self._uri, self.cache.revoked, self.cache.etag)

    def _on_fetched(self, outcome: FetchedFeed | BaseException) -> None:
        if isinstance(outcome, FetchedFeed):
            self._error = None
            self.cache.received(outcome, self._clock())
            self._uri = outcome.uri
        else:
            self._error = outcome.with_traceback(None)
            self.cache.failed(self._clock())
            self._uri = self._configured_uri
            logger.warning("cannot fetch the revocations of %s: %s", self._source.issuer, _described(outcome))


def unavailable(retry_after: float, error: BaseException | None, issuer: str) -> KeysUnavailable:
    """The exception to raise, with `error` as its reason and cause."""
    reason = _described(error) if error is not None else f"no answer yet from {issuer}"
    raised = KeysUnavailable(max(retry_after, 1.0), reason=reason)  # negative infinity until the first fetch has ended
    raised.__cause__ = error
    return raised


def _described(error: BaseException) -> str:
    """A text for logs. The text of an unknown exception is omitted, because it may contain secrets."""
    if isinstance(error, FetchError | IssuerMismatch):
        return str(error)
    known = isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError)
    return f"{type(error).__name__}: {error}" if known and str(error) else type(error).__name__


def _fetch(flow: Callable[[], Flow[T]]) -> Fetch[T]:
    return Fetch(lambda client: _run_sync(flow(), client), lambda client: _run(flow(), client))


async def _run(flow: Flow[T], client: httpx.AsyncClient) -> T:
    async with asyncio.timeout(_DEADLINE_SECONDS):
        return await _run_steps(flow, client)


async def _run_steps(flow: Flow[T], client: httpx.AsyncClient) -> T:
    request = next(flow)
    while True:
        response = await client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            body = bytearray()
            async for chunk in response.aiter_bytes():
                _take(body, chunk, request)
        finally:
            await response.aclose()
        try:
            request = flow.send(HttpResponse(response.status_code, response.headers, bytes(body)))
        except StopIteration as done:
            fetched: T = done.value
            return fetched


def _run_sync(flow: Flow[T], client: httpx.Client) -> T:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    request = next(flow)
    while True:
        response = client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                _take(body, chunk, request)
                if time.monotonic() > deadline:
                    raise FetchError(f"{request.url} took longer than {_DEADLINE_SECONDS:.0f} s")
        finally:
            response.close()
        try:
            request = flow.send(HttpResponse(response.status_code, response.headers, bytes(body)))
        except StopIteration as done:
            fetched: T = done.value
            return fetched


def _take(body: bytearray, chunk: bytes, request: httpx.Request) -> None:
    body += chunk
    if len(body) > request.extensions["max_bytes"]:
        raise FetchError(f"{request.url} is larger than {request.extensions['max_bytes']} bytes")
