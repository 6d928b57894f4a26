"""Fetches what the issuer publishes, its keys and its revocations: the thin part that does I/O.

What to fetch and when is decided elsewhere.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import httpx

from scopewright.verifier.discovery import (
    Fetched,
    FetchedFeed,
    FetchError,
    Flow,
    Page,
    Source,
    fetch_feed,
    fetch_keys,
)
from scopewright.verifier.feedcache import FeedCache
from scopewright.verifier.keycache import KeyCache, Need
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import Unavailable

logger = logging.getLogger("scopewright.verifier")

Http = httpx.Client | httpx.AsyncClient
T = TypeVar("T")
_DEADLINE = 15.0  # seconds for a whole fetch, however slowly bytes trickle in
_FAILURES = (FetchError, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError)


class Flights(Generic[T]):
    """One fetch in flight, however many tasks and threads wait for it.

    Without a client of the service's own, a fetch runs in a short-lived thread with a client of its own: nothing to
    close, no event loop to belong to. An `AsyncClient` is used on the event loop that calls. `flow` is asked for at
    each fetch, and `landed` is told its outcome, both under one lock.
    """

    def __init__(
        self, name: str, http: Http | None, flow: Callable[[], Flow[T]], landed: Callable[[T | BaseException], None]
    ) -> None:
        self._name = name
        self._http = http
        self._flow = flow
        self._landed = landed
        self._lock = threading.Lock()
        self._flight: Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, decide: Callable[[], Need]) -> Future[None] | None:
        """The fetch to wait for, if any; decided under the lock, because another thread may have fetched just now."""
        with self._lock:
            need = decide()
            if need in (Need.NOTHING, Need.WAIT):
                return None
            flight = self._flight or self._take_off()
            return flight if need is Need.NOW else None

    def join(self, decide: Callable[[], Need]) -> Future[None] | None:
        """The same, and whatever is in flight is waited for."""
        with self._lock:
            need = decide()
            return self._flight or (self._take_off() if need is Need.NOW else None)

    def _take_off(self) -> Future[None]:
        flight = Future[None]()
        if isinstance(self._http, httpx.AsyncClient):
            loop = asyncio.get_running_loop()  # raises RuntimeError in verify_sync, which needs a Client
            task = loop.create_task(self._fetch(self._http))
            self._tasks.add(task)
            task.add_done_callback(self._done)
        else:
            threading.Thread(target=self._fetch_in_thread, name=f"scopewright-{self._name}", daemon=True).start()
        self._flight = flight  # the fetch cannot end before: that takes the lock which is held here
        return flight

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = FetchError("cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._finish(error)

    async def _fetch(self, client: httpx.AsyncClient) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                self._finish(await _run(self._flow(), client))
        except _FAILURES as error:
            self._finish(error)

    def _fetch_in_thread(self) -> None:
        try:
            if isinstance(self._http, httpx.Client):
                self._finish(_run_sync(self._flow(), self._http))
            else:
                with httpx.Client() as client:
                    self._finish(_run_sync(self._flow(), client))
        except Exception as error:  # whatever it was, those who wait must be told
            self._finish(error)

    def _finish(self, outcome: T | BaseException) -> None:
        with self._lock:
            flight, self._flight = self._flight, None
            self._landed(outcome)
        if flight is not None:
            flight.set_result(None)


class RemoteKeys:
    def __init__(self, source: Source, http: Http | None, clock: Callable[[], float], cache: KeyCache) -> None:
        self.cache = cache
        self._source = source
        self._discovered = source
        self._clock = clock
        self._flights = Flights("jwks", http, self._flow, self._landed)

    async def ready(self) -> KeySet:
        """Keys to check with, fetched where there are none. Raises `Unavailable`."""
        if (flight := self._begin()) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        return self._keys()

    def ready_sync(self) -> KeySet:
        if (flight := self._begin()) is not None:
            flight.result()
        return self._keys()

    async def ready_for_unknown_kid(self) -> KeySet:
        """Raises `Unavailable` where the issuer could not be asked: a key that nobody looked for is not unknown."""
        if (flight := self._begin_for_unknown_kid()) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        return self._keys(asked=True)

    def ready_for_unknown_kid_sync(self) -> KeySet:
        if (flight := self._begin_for_unknown_kid()) is not None:
            flight.result()
        return self._keys(asked=True)

    def _keys(self, *, asked: bool = False) -> KeySet:
        if self.cache.keys is None or (asked and not self.cache.reachable):
            raise Unavailable(self.cache.retry_at - self._clock())
        return self.cache.keys

    def _begin(self) -> Future[None] | None:
        if self.cache.need(self._clock()) in (Need.NOTHING, Need.WAIT):
            return None
        return self._flights.begin(lambda: self.cache.need(self._clock()))

    def _begin_for_unknown_kid(self) -> Future[None] | None:
        return self._flights.join(lambda: self.cache.need_for_unknown_kid(self._clock()))

    def _flow(self) -> Flow[Fetched]:
        return fetch_keys(self._discovered, self.cache.keys, self.cache.etag)

    def _landed(self, outcome: Fetched | BaseException) -> None:
        if isinstance(outcome, Fetched):
            self.cache.received(outcome, self._clock())
            self._discovered = Source(self._source.issuer, outcome.jwks_uri)
        else:
            self.cache.failed(self._clock())
            self._discovered = self._source  # it may have moved: discover again
            logger.warning("keys of %s not fetched: %s: %s", self._source.issuer, type(outcome).__name__, outcome)


class RemoteFeed:
    """Polls while the service is used, and asks first when it was not; nothing runs in an idle service."""

    def __init__(
        self, issuer: str, uri: str | None, http: Http | None, clock: Callable[[], float], cache: FeedCache
    ) -> None:
        self.cache = cache
        self._issuer = issuer
        self._given = uri
        self._uri = uri
        self._clock = clock
        self._flights = Flights("revocations", http, self._flow, self._landed)

    async def ready(self) -> None:
        """Afterwards the cache has what is revoked. Raises `Unavailable`."""
        if (flight := self._begin()) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        self._require_usable()

    def ready_sync(self) -> None:
        if (flight := self._begin()) is not None:
            flight.result()
        self._require_usable()

    def _begin(self) -> Future[None] | None:
        if self.cache.need(self._clock()) in (Need.NOTHING, Need.WAIT):
            return None
        return self._flights.begin(lambda: self.cache.need(self._clock()))

    def _require_usable(self) -> None:
        now = self._clock()
        if now >= self.cache.due and not self.cache.usable(now):
            raise Unavailable(self.cache.retry_at - now)

    def _flow(self) -> Flow[FetchedFeed]:
        return fetch_feed(self._issuer, self._uri, self.cache.revoked, self.cache.etag)

    def _landed(self, outcome: FetchedFeed | BaseException) -> None:
        if isinstance(outcome, FetchedFeed):
            self.cache.received(outcome, self._clock())
            self._uri = outcome.uri
        else:
            self.cache.failed(self._clock())
            self._uri = self._given
            logger.warning("revocations of %s not fetched: %s: %s", self._issuer, type(outcome).__name__, outcome)


async def _run(flow: Flow[T], client: httpx.AsyncClient) -> T:
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
            request = flow.send(Page(response.status_code, response.headers, bytes(body)))
        except StopIteration as done:
            fetched: T = done.value
            return fetched


def _run_sync(flow: Flow[T], client: httpx.Client) -> T:
    deadline = time.monotonic() + _DEADLINE
    request = next(flow)
    while True:
        response = client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            body = bytearray()
            for chunk in response.iter_bytes():
                _take(body, chunk, request)
                if time.monotonic() > deadline:
                    raise FetchError(f"{request.url} took longer than {_DEADLINE:.0f} s")
        finally:
            response.close()
        try:
            request = flow.send(Page(response.status_code, response.headers, bytes(body)))
        except StopIteration as done:
            fetched: T = done.value
            return fetched


def _take(body: bytearray, chunk: bytes, request: httpx.Request) -> None:
    body += chunk
    if len(body) > request.extensions["max_bytes"]:
        raise FetchError(f"{request.url} is larger than {request.extensions['max_bytes']} bytes")
