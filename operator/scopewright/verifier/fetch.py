"""Fetches the issuer's keys and revocations. Does the I/O only.

`discovery` has the requests; `keycache` and `feedcache` decide when to fetch.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from scopewright.http_flow import FetchError, run, run_sync, send, send_sync
from scopewright.issuer_metadata import IssuerMismatch
from scopewright.singleflight import MAX_WAIT_SECONDS, Fetch, Http, RefreshDecision, SingleFlight
from scopewright.verifier.discovery import (
    Fetched,
    FetchedFeed,
    Flow,
    KeySource,
    fetch_feed,
    fetch_keys,
    secure_url,
)
from scopewright.verifier.feedcache import FeedCache
from scopewright.verifier.keycache import KeyCache
from scopewright.verifier.keyset import KeySet
from scopewright.verifier.options import ISSUER
from scopewright.verifier.refusals import KeysUnavailable

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger("scopewright.verifier")

F = TypeVar("F", bound=Fetched | FetchedFeed)
F_contra = TypeVar("F_contra", contravariant=True)
C = TypeVar("C", bound="_Cache[Any]")
T = TypeVar("T")
_MISMATCH_SECONDS = 300.0  # between two errors about one configuration
_DEADLINE_SECONDS = 15.0  # for a whole fetch, even if the body arrives slowly


class _Cache(Protocol[F_contra]):
    retry_at: float

    def need(self, now: float) -> RefreshDecision: ...

    def received(self, fetched: F_contra, now: float) -> None: ...

    def failed(self, now: float) -> None: ...


class _Remote(ABC, Generic[C, F, T]):
    """A document of the issuer, at `uri` or where the metadata names it."""

    def __init__(
        self,
        what: str,
        source: KeySource,
        uri: str | None,
        http: Http | None,
        clock: Callable[[], float],
        cache: C,
    ) -> None:
        self._what = what
        self._source = source
        self._configured_uri = uri
        self._uri = uri
        self._clock = clock
        self.cache = cache
        self._error: BaseException | None = None
        self._report_mismatch_at = float("-inf")
        fetch = Fetch(lambda client: _run_sync(self._flow(), client), lambda client: _run(self._flow(), client))
        self._fetching = SingleFlight(what, "Verifier", http, fetch, self._on_fetched)

    async def ready(self, seconds: float = MAX_WAIT_SECONDS) -> T:
        """Fetches the document if it is due. Raises `KeysUnavailable`, after `seconds` at the latest."""
        if (flight := self._begin()) is not None:
            await self._fetching.wait(flight, seconds)
        return self._usable()

    def ready_sync(self, seconds: float = MAX_WAIT_SECONDS) -> T:
        """`ready` for threads. Raises RuntimeError if `http` is an `AsyncClient`."""
        self._fetching.check_sync()
        if (flight := self._begin()) is not None:
            self._fetching.wait_sync(flight, seconds)
        return self._usable()

    def check_process(self) -> None:
        """Raises RuntimeError if the HTTP client belongs to the process that forked this one."""
        self._fetching.check_process()

    def _begin(self) -> Future[None] | None:
        self.check_process()
        if self.cache.need(self._clock()) in (RefreshDecision.NOTHING, RefreshDecision.WAIT):
            return None
        return self._fetching.begin(lambda: self.cache.need(self._clock()))

    def _on_fetched(self, outcome: F | BaseException) -> None:
        if isinstance(outcome, BaseException):
            self._error = outcome.with_traceback(None)
            self.cache.failed(self._clock())
            self._uri = self._configured_uri  # the document may have moved: repeat discovery
            self._log(outcome)
        else:
            self._error = None
            self._report_mismatch_at = float("-inf")
            self.cache.received(outcome, self._clock())
            self._uri = outcome.uri

    def _log(self, error: BaseException) -> None:
        """A wrong issuer is an error that no retry corrects; it is not repeated with each retry."""
        level = logging.WARNING
        if isinstance(error, IssuerMismatch):
            now = self._clock()
            if now < self._report_mismatch_at:
                return
            level, self._report_mismatch_at = logging.ERROR, now + _MISMATCH_SECONDS
        logger.log(level, "cannot fetch the %s of %s: %s", self._what, self._source.issuer, _described(error))

    def _unavailable(self, retry_at: float | None = None) -> KeysUnavailable:
        """The exception to raise, with the last error as its reason and cause. `retry_at`: of the next fetch."""
        error, retry_after = self._error, (self.cache.retry_at if retry_at is None else retry_at) - self._clock()
        reason = _described(error) if error is not None else f"no answer yet from {self._source.issuer}"
        raised = KeysUnavailable(max(retry_after, 1.0), reason=reason)  # negative infinity until a fetch has ended
        raised.__cause__ = error
        return raised

    @abstractmethod
    def _flow(self) -> Flow[F]: ...

    @abstractmethod
    def _usable(self) -> T: ...


class RemoteKeys(_Remote[KeyCache, Fetched, KeySet]):
    def __init__(self, source: KeySource, http: Http | None, clock: Callable[[], float], cache: KeyCache) -> None:
        super().__init__("keys", source, source.jwks_uri, http, clock, cache)

    def fresh(self) -> KeySet | None:
        """The keys, if no fetch is needed."""
        return self.cache.fresh(self._clock())

    async def ready_for_unknown_kid(self) -> KeySet:
        """The keys after a fetch for an unknown kid. Raises `KeysUnavailable` if the issuer could not be reached."""
        flight = self._begin_for_unknown_kid()
        return self._reachable(in_time=flight is None or await self._fetching.wait(flight))

    def ready_for_unknown_kid_sync(self) -> KeySet:
        flight = self._begin_for_unknown_kid()
        return self._reachable(in_time=flight is None or self._fetching.wait_sync(flight))

    def _begin_for_unknown_kid(self) -> Future[None] | None:
        return self._fetching.join(lambda: self.cache.need_for_unknown_kid(self._clock()))

    def _reachable(self, *, in_time: bool) -> KeySet:
        if not (in_time and self.cache.reachable):
            raise self._unavailable(self.cache.unknown_kid_at)
        return self._usable()

    def _usable(self) -> KeySet:
        if self.cache.keys is None:
            raise self._unavailable()
        return self.cache.keys

    def _flow(self) -> Flow[Fetched]:
        return fetch_keys(self._source, self._uri, self.cache.keys, self.cache.etag)


class RemoteFeed(_Remote[FeedCache, FetchedFeed, None]):
    """Polls the feed while the service is used. The first request after an idle time waits for a fetch."""

    def __init__(
        self, source: KeySource, uri: str | None, http: Http | None, clock: Callable[[], float], cache: FeedCache
    ) -> None:
        if uri is not None:
            secure_url(uri, source.allow_http)
        super().__init__("revocations", source, uri, http, clock, cache)

    def _usable(self) -> None:
        now = self._clock()
        if now >= self.cache.due and not self.cache.usable(now):
            raise self._unavailable()

    def _flow(self) -> Flow[FetchedFeed]:
        return fetch_feed(self._source, self._uri, self.cache.revoked, self.cache.etag)


def _described(error: BaseException) -> str:
    """A text for logs. The text of an unknown exception is omitted, because it may contain secrets."""
    if isinstance(error, IssuerMismatch):
        return error.advising(f"correct issuer= or {ISSUER} to ")
    if isinstance(error, FetchError):
        return str(error)
    import httpx

    known = isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError | ImportError)
    return f"{type(error).__name__}: {error}" if known and str(error) else type(error).__name__


async def _run(flow: Flow[T], client: "httpx.AsyncClient") -> T:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    async with asyncio.timeout(_DEADLINE_SECONDS):
        return await run(flow, lambda request: send(client, request, deadline))


def _run_sync(flow: Flow[T], client: "httpx.Client") -> T:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    return run_sync(flow, lambda request: send_sync(client, request, deadline))
