"""Runs requests that each caller makes for itself, such as introspection, with the HTTP client that there is."""

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import httpx

from scopewright.client.clock import Clock
from scopewright.client.errors import TokenError, unavailable, unexpected
from scopewright.client.issuer_request import Flow
from scopewright.client.outage import IssuerOutage
from scopewright.client.transport import run, run_sync
from scopewright.forks import new_http_client, restart_in_children
from scopewright.singleflight import MAX_WAIT_SECONDS, Http

T = TypeVar("T")
_MAX_THREADS: Final = 32


class UnsharedRequests:
    """Each call runs one flow, and waits at most 30 s for it. Raises `TokenError`, also if it takes longer.

    An `AsyncClient` is used on the caller's event loop. With a `Client`, or without `http`, the flow runs in a thread,
    at most 32 at a time, so that no event loop is blocked. Without `http`, one HTTP client is made at the first call
    and keeps its connections; a forked child makes its own.
    """

    def __init__(self, http: Http | None, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._close: weakref.finalize[[], UnsharedRequests] | None = None
        self._reset()
        restart_in_children(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._own: httpx.Client | None = None
        self._threads = DaemonThreads(_MAX_THREADS)
        self._outage = IssuerOutage(self._clock.now)

    def after_fork(self) -> None:
        """Called in a forked child: connections and threads are the parent's."""
        if self._close is not None:
            self._close.detach()  # the client's lock may have been held
        self._reset()

    async def run(self, flow: Flow[T]) -> T:
        with self._tracked():
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                if isinstance(self._http, httpx.AsyncClient):
                    return await run(flow, self._http, self._clock)
                return await asyncio.wrap_future(self._start(_in_time(flow)))

    def run_sync(self, flow: Flow[T]) -> T:
        """`run` for threads. Raises RuntimeError if `http` is an `AsyncClient`."""
        if isinstance(self._http, httpx.AsyncClient):
            raise RuntimeError("http= is an AsyncClient, which sync code cannot use: pass a Client, or await instead")  # noqa: TRY004
        with self._tracked():
            started = self._start(_in_time(flow))
            try:
                return started.result(MAX_WAIT_SECONDS)
            finally:
                started.cancel()

    @contextmanager
    def _tracked(self) -> Iterator[None]:
        """Raises `TokenError` during an outage, and for any exception of the request."""
        self._outage.check()
        try:
            yield
        except Exception as caught:
            error = _as_token_error(caught)
            self._outage.ended(error)
            raise error from None
        self._outage.ended(None)

    def _start(self, flow: Flow[T]) -> Future[T]:
        future = Future[T]()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(run_sync(flow, self._client(), self._clock))
            except Exception as error:  # of any kind: the caller waits for it
                future.set_exception(error)

        self._threads.run(work)
        return future

    def _client(self) -> httpx.Client:
        if isinstance(self._http, httpx.Client):
            return self._http
        with self._lock:
            if self._own is None:
                self._own = new_http_client()
                self._close = weakref.finalize(self, self._own.close)
                self._close.atexit = False
            return self._own


class DaemonThreads:
    """Runs work in at most `most` threads, which end when none is left. They do not delay the end of the process."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0

    def run(self, work: Callable[[], None]) -> None:
        """`work` must not raise. Raises RuntimeError if no thread runs and none can be started."""
        with self._lock:
            self._waiting.append(work)
            if self._running < self._most:
                self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name="scopewright-request", daemon=True).start()
        except RuntimeError:  # at a limit of threads, or at the end of the process
            if not self._running:
                self._waiting.pop()
                raise
        else:
            self._running += 1

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._running -= 1
                    return
                work = self._waiting.popleft()
            work()


def _in_time(flow: Flow[T]) -> Flow[T]:
    """Begins no step of `flow` after its caller has stopped to wait."""
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    answer: Any = None
    while True:
        try:
            step = flow.send(answer)
        except StopIteration as done:
            result: T = done.value
            return result
        if time.monotonic() > deadline:
            raise _too_slow()
        answer = yield step


def _as_token_error(error: Exception) -> TokenError:
    if isinstance(error, TokenError):
        return error
    return _too_slow() if isinstance(error, TimeoutError) else unexpected(error)


def _too_slow() -> TokenError:
    return unavailable(f"no answer within {MAX_WAIT_SECONDS:.0f} s; try again")
