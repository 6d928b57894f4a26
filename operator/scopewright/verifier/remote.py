"""Fetches the issuer's keys: the thin part that does I/O. What to fetch and when is decided elsewhere."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import httpx

from scopewright.verifier.discovery import MAX_BYTES, Fetched, FetchError, Flow, Page, Source, fetch_keys
from scopewright.verifier.keycache import KeyCache, Need
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.refusals import Unavailable

logger = logging.getLogger("scopewright.verifier")

Http = httpx.Client | httpx.AsyncClient
_DEADLINE = 15.0  # seconds for a whole fetch, however slowly bytes trickle in
_FAILURES = (FetchError, httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError)


class RemoteKeys:
    """One fetch in flight, however many tasks and threads wait for it.

    Without a client of the service's own, a fetch runs in a short-lived thread with a client of its own: nothing to
    close, no event loop to belong to. An `AsyncClient` is used on the event loop that calls.
    """

    def __init__(self, source: Source, http: Http | None, clock: Callable[[], float], cache: KeyCache) -> None:
        self.cache = cache
        self._source = source
        self._discovered = source
        self._http = http
        self._clock = clock
        self._lock = threading.Lock()
        self._flight: Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def ready(self) -> KeySet:
        """Keys to check with, fetched where there are none. Raises `Unavailable`."""
        if (flight := self._begin(self.cache.need(self._clock()))) is not None:
            await asyncio.shield(asyncio.wrap_future(flight))
        return self._keys()

    def ready_sync(self) -> KeySet:
        if (flight := self._begin(self.cache.need(self._clock()))) is not None:
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

    def _begin_for_unknown_kid(self) -> Future[None] | None:
        with self._lock:
            need = self.cache.need_for_unknown_kid(self._clock())
            return self._flight or (self._take_off() if need is Need.NOW else None)

    def _begin(self, need: Need) -> Future[None] | None:
        """The fetch to wait for, if any."""
        if need in (Need.NOTHING, Need.WAIT):
            return None
        with self._lock:
            # Decided again under the lock: another thread may have fetched in between.
            need = self.cache.need(self._clock())
            if need in (Need.NOTHING, Need.WAIT):
                return None
            flight = self._flight or self._take_off()
            return flight if need is Need.NOW else None

    def _take_off(self) -> Future[None]:
        flight = Future[None]()
        if isinstance(self._http, httpx.AsyncClient):
            loop = asyncio.get_running_loop()  # raises RuntimeError in verify_sync, which needs a Client
            task = loop.create_task(self._fetch(self._http))
            self._tasks.add(task)
            task.add_done_callback(self._landed)
        else:
            threading.Thread(target=self._fetch_in_thread, name="scopewright-jwks", daemon=True).start()
        self._flight = flight  # the fetch cannot end before: that takes the lock which is held here
        return flight

    def _landed(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = FetchError("cancelled") if task.cancelled() else task.exception()
        if error is not None:
            self._finish(error)

    def _flow(self) -> Flow:
        return fetch_keys(self._discovered, self.cache.keys, self.cache.etag)

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

    def _finish(self, outcome: Fetched | BaseException) -> None:
        with self._lock:
            flight, self._flight = self._flight, None
            if isinstance(outcome, Fetched):
                self.cache.received(outcome, self._clock())
                self._discovered = Source(self._source.issuer, outcome.jwks_uri)
            else:
                self.cache.failed(self._clock())
                self._discovered = self._source  # it may have moved: discover again
                logger.warning("keys of %s not fetched: %s: %s", self._source.issuer, type(outcome).__name__, outcome)
        if flight is not None:
            flight.set_result(None)


async def _run(flow: Flow, client: httpx.AsyncClient) -> Fetched:
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
            fetched: Fetched = done.value
            return fetched


def _run_sync(flow: Flow, client: httpx.Client) -> Fetched:
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
            fetched: Fetched = done.value
            return fetched


def _take(body: bytearray, chunk: bytes, request: httpx.Request) -> None:
    body += chunk
    if len(body) > MAX_BYTES:
        raise FetchError(f"{request.url} is larger than {MAX_BYTES} bytes")
