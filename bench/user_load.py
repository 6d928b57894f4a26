"""The loads of `users`: logins and refreshes, as fast as a few connections allow, or at a rate."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from bench.benchmark import BenchmarkError
from bench.timeouts import TIMEOUT_SECONDS, time_limit
from bench.user_browser import Connection, Connections, LoginRequest, log_in, refresh
from bench.user_records import SPA, USERS, WEB

CONNECTIONS: Final = 16
_ATTEMPTS: Final = 3
"""Of a load without pauses."""
MAX_IN_FLIGHT: Final = 64
"""Of a load at a rate: what is due above it is not sent, and counted."""
REFRESH_TOKENS: Final = MAX_IN_FLIGHT
"""Refresh tokens that are used in turn, of as many users."""

Step = Callable[[Connection], Awaitable[None]]
_FAILURES: Final = (BenchmarkError, OSError, EOFError, TimeoutError)
"""What a step raises that does not succeed: the last three without an answer."""


@dataclass(frozen=True, slots=True)
class ClosedLoad:
    """The result of a load without pauses. Latencies in milliseconds are those of a whole login or refresh."""

    done: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.done / self.seconds


@dataclass
class OpenLoad:
    """The result of a load at a rate. `refused` by the server, `failed` without an answer, `dropped` by the bound."""

    done: int = 0
    refused: int = 0
    failed: int = 0
    dropped: int = 0
    latencies: list[float] = field(default_factory=list)
    """In seconds, of what was done."""
    seconds: float = 0.0


class Users:
    """The users of one server, and the refresh tokens that they have left with their applications.

    `path` is that of the authorization endpoint.
    """

    def __init__(self, port: int, path: str) -> None:
        self.connections = Connections(port)
        self._path = path
        self._number = count()
        self._tokens: dict[tuple[str, str], deque[str]] = {WEB: deque(), SPA: deque()}

    async def prepare(self) -> None:
        """Log users in whose refresh tokens the loads use, several at once: one login waits most of its time."""

        async def fill(application: tuple[str, str], kept: deque[str]) -> None:
            async with self.connections.one() as connection:
                while len(kept) < REFRESH_TOKENS:
                    kept.append((await self._login(connection, application))["refresh_token"])

        async with asyncio.TaskGroup() as group:
            for application, kept in self._tokens.items():
                for _ in range(CONNECTIONS // 2):
                    group.create_task(fill(application, kept))

    async def begin_again(self) -> None:
        """After the loss of all sessions: prepare once the store answers."""
        for kept in self._tokens.values():
            kept.clear()
        async with time_limit(TIMEOUT_SECONDS, "the first login at a new session store"):
            while not await self._logs_in():  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.1)
        await self.prepare()

    async def _logs_in(self) -> bool:
        try:
            async with self.connections.one() as connection:
                await self.log_in(connection)
        except _FAILURES:
            return False
        return True

    async def log_in(self, connection: Connection) -> None:
        await self._login(connection, WEB)

    async def refresh(self, connection: Connection) -> None:
        """With a token that does not rotate."""
        await self._refresh(connection, WEB)

    async def rotate(self, connection: Connection) -> None:
        await self._refresh(connection, SPA)

    async def _login(self, connection: Connection, application: tuple[str, str]) -> dict[str, str]:
        """Of a user who has not logged in for the longest time."""
        user = f"user-{next(self._number) % USERS:05}"
        return await log_in(connection, LoginRequest(self._path, application, user))

    async def _refresh(self, connection: Connection, application: tuple[str, str]) -> None:
        """One request for each token at once, as an application sends them."""
        sent = self._tokens[application].popleft()
        kept = sent
        try:
            kept = (await refresh(connection, application, sent))["refresh_token"]
        finally:
            self._tokens[application].append(kept)
        if (kept == sent) != (application == WEB):
            raise BenchmarkError("a refresh token rotated that should not, or did not rotate")


async def run_closed(connections: Connections, step: Step, seconds: float) -> ClosedLoad:
    """Repeat the step on each connection. Every step must succeed.

    A run with a failure does not count, and is repeated: on a busy machine the store may answer too late. The last of
    _ATTEMPTS raises BenchmarkError.
    """
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(BenchmarkError):
            return await _run_closed(connections, step, seconds)
    return await _run_closed(connections, step, seconds)


async def _run_closed(connections: Connections, step: Step, seconds: float) -> ClosedLoad:
    latencies: list[float] = []
    started = time.perf_counter()
    end = started + seconds

    async def repeat() -> None:
        async with connections.one() as connection:
            while True:  # once at least
                begun = time.perf_counter()
                await step(connection)
                latencies.append(time.perf_counter() - begun)
                if time.perf_counter() >= end:
                    return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(repeat())
    except* _FAILURES as failed:
        first = failed.exceptions[0]
        raise BenchmarkError(f"a load without pauses must not fail: {type(first).__name__}: {first}") from None
    took = time.perf_counter() - started
    return ClosedLoad(len(latencies), took, *(quantile(latencies, part) for part in (0.5, 0.99)))


async def run_open(connections: Connections, step: Step, rate: float, stop: asyncio.Event) -> OpenLoad:
    """Begin `rate` steps a second until `stop`, whether earlier ones have ended or not."""
    load, running = OpenLoad(), set[asyncio.Task[None]]()

    async def attempt() -> None:
        begun = time.perf_counter()
        try:
            async with connections.one() as connection:
                await step(connection)
        except BenchmarkError:
            load.refused += 1
        except (OSError, EOFError, TimeoutError):
            load.failed += 1
        else:
            load.done += 1
            load.latencies.append(time.perf_counter() - begun)

    due = started = time.perf_counter()
    while not stop.is_set():
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        due += 1 / rate
        if len(running) >= MAX_IN_FLIGHT:
            load.dropped += 1
            await asyncio.sleep(0)
            continue
        task = asyncio.create_task(attempt())
        running.add(task)
        task.add_done_callback(running.discard)
    load.seconds = time.perf_counter() - started
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return load


def quantile(latencies: list[float], part: float) -> float:
    """In milliseconds, rounded; 0 without any."""
    found = sorted(latencies)
    return round(found[min(len(found) - 1, int(part * len(found)))] * 1000, 2) if found else 0.0
