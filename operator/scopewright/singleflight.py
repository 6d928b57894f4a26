"""Runs one fetch at a time for all tasks and threads that wait for it. Shared by `verifier` and `client`."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, Union, cast

from scopewright.forks import import_for_fetch, new_http_client, restart_in_children

if TYPE_CHECKING:
    import httpx

Http = Union["httpx.Client", "httpx.AsyncClient"]
T = TypeVar("T")

MAX_WAIT_SECONDS: Final = 30.0
"""For one fetch. A longer one is abandoned, and the next caller starts another."""


class RefreshDecision(Enum):
    NOTHING = "use the current value"
    SOON = "use the current value, and fetch in the background"
    NOW = "fetch first"
    WAIT = "there is no value, and the next fetch must wait for the back-off"


@dataclass(frozen=True, slots=True)
class Fetch(Generic[T]):
    """One fetch, with either kind of HTTP client. An exception is an outcome too."""

    with_client: Callable[["httpx.Client"], T]
    with_async_client: Callable[["httpx.AsyncClient"], Coroutine[Any, Any, T]]


class SingleFlight(Generic[T]):
    """Runs `fetch`, and passes its result or its exception to `on_fetched`. One lock guards decisions and outcomes.

    Without `http`, a fetch runs in a short-lived thread with its own HTTP client: nothing to close, and no event loop
    is needed. An `AsyncClient` is used on the caller's event loop. A forked child starts with no fetch in progress and
    must not use the parent's `http`. `owner` names the object that `http` was passed to.
    """

    def __init__(
        self,
        name: str,
        owner: str,
        http: Http | None,
        fetch: Fetch[T],
        on_fetched: Callable[[T | BaseException], None],
    ) -> None:
        self._name = name
        self._owner = owner
        self._http = http
        self._fetch = fetch
        self._on_fetched = on_fetched
        self._is_in_child = False
        self._reset()
        restart_in_children(self)

    def _reset(self) -> None:
        self.lock = threading.Lock()
        self._flight: Future[None] | None = None
        self._started_at = 0.0
        self._tasks: set[asyncio.Task[T]] = set()

    def after_fork(self) -> None:
        self._reset()
        self._is_in_child = True

    def check_process(self) -> None:
        """Raises RuntimeError in a forked child if `http` was passed: its connections are the parent's."""
        if self._is_in_child and self._http is not None:
            raise RuntimeError(
                f"the {type(self._http).__name__} that was passed as http= to this {self._owner} belongs to the "
                f"process that forked: make the {self._owner} in the child process, or omit http="
            )

    def check_sync(self) -> None:
        """Raises RuntimeError if `http` is an `AsyncClient`: on its event loop, sync code would wait for itself."""
        if _async_client(self._http) is not None:
            raise RuntimeError(
                f"http= of this {self._owner} is an AsyncClient, which sync code cannot use: pass a Client, or await "
                "instead"
            )

    def begin(self, decide: Callable[[], RefreshDecision]) -> Future[None] | None:
        """The fetch to wait for, if any. `decide` runs under the lock, because another thread may just have fetched."""
        with self.lock:
            need = decide()
            if need in (RefreshDecision.NOTHING, RefreshDecision.WAIT):
                return None
            flight = self._flight or self._start()
            return flight if need is RefreshDecision.NOW else None

    def join(self, decide: Callable[[], RefreshDecision]) -> Future[None] | None:
        """The fetch that is in progress, else the one that `decide` asks for, which is called only then."""
        with self.lock:
            return self._flight or (self._start() if decide() is RefreshDecision.NOW else None)

    async def wait(self, flight: Future[None], seconds: float = MAX_WAIT_SECONDS) -> bool:
        """Whether the fetch ended within `seconds`."""
        done, _ = await asyncio.wait({asyncio.wrap_future(flight)}, timeout=seconds)
        return bool(done) or self._abandon(flight)

    def wait_sync(self, flight: Future[None], seconds: float = MAX_WAIT_SECONDS) -> bool:
        try:
            flight.result(seconds)
        except TimeoutError:
            return self._abandon(flight)
        return True

    def _abandon(self, flight: Future[None]) -> bool:
        """Lets the next caller start another fetch if this one took too long. Its outcome is still used.

        Returns whether it has ended.
        """
        with self.lock:
            if self._flight is flight and time.monotonic() >= self._started_at + MAX_WAIT_SECONDS:
                self._flight = None
            return flight.done()

    def _start(self) -> Future[None]:
        self.check_process()
        flight = Future[None]()
        http = _async_client(self._http)
        if http is not None:
            loop = asyncio.get_running_loop()  # raises RuntimeError in sync code, which needs a Client
            task = loop.create_task(self._fetch.with_async_client(http))
            self._tasks.add(task)
            task.add_done_callback(lambda ended: self._on_task_done(flight, ended))
        else:
            name = f"scopewright-{self._name}"
            thread = threading.Thread(target=self._run_in_thread, args=(flight,), name=name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # at a limit of threads, or at the end of the process: a fetch that failed
                self._on_fetched(error)
                flight.set_result(None)
                return flight
        self._started_at = time.monotonic()
        self._flight = flight  # the fetch cannot end earlier: _finish needs the lock, which is held here
        return flight

    def _on_task_done(self, flight: Future[None], task: "asyncio.Task[T]") -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._finish(flight, task.result() if error is None else error)

    def _run_in_thread(self, flight: Future[None]) -> None:
        try:
            if self._http is not None:
                outcome: T | BaseException = self._fetch.with_client(cast("httpx.Client", self._http))
            else:
                with new_http_client() as client:
                    outcome = self._fetch.with_client(client)
        except Exception as error:  # of any kind: the waiting callers must be released
            outcome = error
        self._finish(flight, outcome)

    def _finish(self, flight: Future[None], outcome: T | BaseException) -> None:
        try:
            with self.lock:
                if self._flight is flight:
                    self._flight = None
                self._on_fetched(outcome)
        finally:
            flight.set_result(None)


def _async_client(http: Http | None) -> "httpx.AsyncClient | None":
    """`http`, if it is an AsyncClient. Without `http`, httpx is not imported for that."""
    if http is None:
        return None
    import_for_fetch()
    import httpx

    return http if isinstance(http, httpx.AsyncClient) else None
