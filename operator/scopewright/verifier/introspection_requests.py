"""Asks the issuer about tokens: one request for each token at a time, and a limited number of all."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from scopewright.forks import restart_in_children
from scopewright.singleflight import MAX_WAIT_SECONDS
from scopewright.verifier.introspection import Introspection, unavailable
from scopewright.verifier.refusals import KeysUnavailable, TokenRejected

logger = logging.getLogger("scopewright.verifier")

_INACTIVE_SECONDS = 300.0  # without an active answer, one warning

Outcome = Mapping[str, Any] | BaseException


@dataclass(slots=True)
class _Flight:
    """A request that is in progress, for all callers with the same token. Times are of `time.monotonic`."""

    started_at: float = field(default_factory=time.monotonic)
    outcome: Future[Outcome] = field(default_factory=Future)

    @property
    def is_abandoned(self) -> bool:
        return time.monotonic() >= self.started_at + MAX_WAIT_SECONDS


@dataclass(frozen=True, slots=True)
class IntrospectionAnswer:
    """The members of the answer, and for how many seconds it may be used."""

    members: Mapping[str, Any]
    fresh_for: float


class IntrospectionRequests:
    """Async callers share a task of the event loop that asks first; the first of the threads makes the request itself.

    A forked child starts with no request in progress.
    """

    def __init__(self, introspection: Introspection) -> None:
        self._introspector = introspection.introspector
        self._max_age = introspection.max_age
        self._concurrency = introspection.concurrency
        self._is_failing = False
        self._warn_inactive_at = float("-inf")
        self._reset()
        restart_in_children(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._tasks: set[asyncio.Task[Mapping[str, Any]]] = set()

    def after_fork(self) -> None:
        """Called in a forked child: the requests are the parent's."""
        self._reset()

    async def ask(self, token: str) -> IntrospectionAnswer:
        """Raises `KeysUnavailable`, after 30 s at the latest."""
        flight, is_first = self._join(token)
        if is_first:
            task = asyncio.get_running_loop().create_task(self._introspect(token))
            self._tasks.add(task)
            task.add_done_callback(lambda ended: self._on_task_done(token, flight, ended))
        await asyncio.wait({asyncio.wrap_future(flight.outcome)}, timeout=MAX_WAIT_SECONDS)
        return self._answer(flight)

    def ask_sync(self, token: str) -> IntrospectionAnswer:
        """`ask` for threads."""
        flight, is_first = self._join(token)
        if is_first:
            self._run_sync(token, flight)
        return self._answer(flight, MAX_WAIT_SECONDS)

    def _join(self, token: str) -> tuple[_Flight, bool]:
        """The request about this token, and whether the caller has to make it."""
        with self._lock:
            flight = self._flights.get(token)
            if flight is not None and not flight.is_abandoned:
                return flight, False
            if len(self._flights) >= self._concurrency:
                self._flights = {asked: each for asked, each in self._flights.items() if not each.is_abandoned}
            if len(self._flights) >= self._concurrency:
                raise unavailable(f"{self._concurrency} requests for introspection are in progress")
            flight = self._flights[token] = _Flight()
            return flight, True

    async def _introspect(self, token: str) -> Mapping[str, Any]:
        return await self._introspector.introspect(token)

    def _on_task_done(self, token: str, flight: _Flight, task: "asyncio.Task[Mapping[str, Any]]") -> None:
        self._tasks.discard(task)
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._finish(token, flight, task.result() if error is None else error)

    def _run_sync(self, token: str, flight: _Flight) -> None:
        try:
            outcome: Outcome = self._introspector.introspect_sync(token)
        except BaseException as error:  # of any kind: the waiting callers must be released
            self._finish(token, flight, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._finish(token, flight, outcome)

    def _finish(self, token: str, flight: _Flight, outcome: Outcome) -> None:
        with self._lock:
            if self._flights.get(token) is flight:
                del self._flights[token]
        flight.outcome.set_result(outcome)
        if isinstance(outcome, BaseException):
            self._log_failure(_described(outcome))

    @contextlib.contextmanager
    def checking(self) -> Iterator[None]:
        """For the check of an answer: logs one that cannot be used."""
        try:
            yield
        except KeysUnavailable as unusable:
            self._log_failure(unusable.reason)
            raise
        except TokenRejected:
            self._is_failing = False
            raise
        self._is_failing = False

    def note_active(self, active: object) -> None:
        """For the `active` of an answer about a token whose signature is valid: warns of the probable cause of False.

        An issuer also reports a token as inactive to a client that may not introspect it (RFC 7662 §2.2).
        """
        now = time.monotonic()
        is_due = now >= self._warn_inactive_at
        if active is False and is_due:
            logger.warning(
                "the issuer says that a token with a valid signature is not active: it has been revoked, or the "
                "client of introspection= may not introspect tokens for this API; add that OAuthClient to "
                "spec.servedBy of the ResourceServer"
            )
        if active is True or (active is False and is_due):
            self._warn_inactive_at = now + _INACTIVE_SECONDS

    def _log_failure(self, reason: str) -> None:
        """Once, until an answer can be used."""
        if not self._is_failing:
            logger.warning("cannot introspect a token: %s", reason)
        self._is_failing = True

    def _answer(self, flight: _Flight, seconds: float = 0.0) -> IntrospectionAnswer:
        try:
            outcome = flight.outcome.result(seconds)
        except TimeoutError:
            raise unavailable(f"no answer within {MAX_WAIT_SECONDS:.0f} s") from None
        if isinstance(outcome, BaseException):
            raise _unavailable(outcome) from outcome
        if not isinstance(outcome, Mapping):
            with self.checking():
                raise unavailable(f"introspect returned {type(outcome).__name__}, and not the members of an answer")
        return IntrospectionAnswer(outcome, flight.started_at + self._max_age - time.monotonic())


def _unavailable(error: BaseException) -> KeysUnavailable:
    retry_after = getattr(error, "retry_after", None)
    seconds = min(float(retry_after), MAX_WAIT_SECONDS) if isinstance(retry_after, int | float) else 1.0
    return unavailable(_described(error), seconds)


def _described(error: object) -> str:
    """A text for logs. The text of an unknown exception is omitted, because it may contain secrets."""
    return str(error) if isinstance(getattr(error, "description", None), str) else type(error).__name__
