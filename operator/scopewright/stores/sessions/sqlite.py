"""A session store in one SQLite file, which the worker processes of a Pod share.

One thread for each process has the connection. It takes the requests that wait, at most MAX_BATCH, and serves them in
one transaction: a write waits for one sync of the disk, not for that of each write before it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.sessions import Delete, Found, Put, ScanPage, Stored
from scopewright.stores.sessions.sqlite_file import Identity, failure_of, identity, open_file

log: Final = logging.getLogger(__name__)

MAX_BYTES: Final = 512 << 20
OPERATION_TIMEOUT_SECONDS: Final = 5.0
"""After it, the caller gets `Unavailable`. A request that has not begun is then not served."""
MAX_WAITING: Final = 512
MAX_BATCH: Final = 64
PURGE_INTERVAL_SECONDS: Final = 5.0
PURGE_ROWS: Final = 200
"""Expired rows that are removed in one transaction, so that others need not wait."""
PAGE_ROWS: Final = 200
PAGE_BYTES: Final = 1 << 20
"""Of the values of a page, not counting the last one. A scan reads one page in a transaction, so that others need not
wait."""
_CLOSE_TIMEOUT_SECONDS: Final = 5.0

T = TypeVar("T")
Work = Callable[[sqlite3.Connection, float], Any]
"""Takes the connection, within a transaction, and the time."""


@dataclass(slots=True, eq=False)
class _Job:
    work: Work
    writes: bool
    future: "asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop

    def finish(self, result: Any) -> None:
        self._resolve(lambda: self.future.set_result(result))

    def fail(self, error: Unavailable) -> None:
        self._resolve(lambda: self.future.set_exception(error))

    def _resolve(self, resolve: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the event loop is closed: no task waits
            self.loop.call_soon_threadsafe(lambda: None if self.future.done() else resolve())


def check_file(path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Open and close the file, creating it if it does not exist, before processes are started that share it.

    Raises `Rejected` or `Unavailable`, with what to do.
    """
    open_file(path, max_bytes).close()


class SqliteSessions:
    """The file is opened by the first request. Use one instance in a process, and none before it forks."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._waiting: queue.Queue[_Job | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._closed = False
        # Of the thread:
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity = ()
        self._problem = ""

    async def get(self, *keys: bytes) -> Found:
        return await self._run(lambda connection, now: Found(now, tuple(_stored(connection, k, now) for k in keys)))

    async def write(self, *changes: Put | Delete) -> bool:
        return await self._run(lambda connection, now: _write(connection, changes, now), writes=True)

    async def scan(self, start: str = "") -> ScanPage:
        after = bytes.fromhex(start)
        return await self._run(lambda connection, now: _page(connection, after, now))

    async def store_id(self) -> str:
        return await self._run(lambda connection, now: str(connection.execute("SELECT id FROM store").fetchone()[0]))

    async def close(self) -> None:
        """Requests that wait are served first."""
        self._closed = True
        if self._thread is not None:
            await asyncio.to_thread(self._waiting.put, None)
            await asyncio.to_thread(self._thread.join, _CLOSE_TIMEOUT_SECONDS)

    async def _run(self, work: Callable[[sqlite3.Connection, float], T], *, writes: bool = False) -> T:
        if self._closed:
            raise Unavailable("the session store is closed", refused=True)
        loop = asyncio.get_running_loop()
        job = _Job(work, writes, loop.create_future(), loop)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve_all, name="sessions", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            raise Unavailable("too many requests wait for the session store", refused=True) from None
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                result: T = await job.future
        except TimeoutError:
            raise Unavailable("the session store did not answer in time") from None
        return result

    # In the thread

    def _serve_all(self) -> None:
        next_purge = time.monotonic() + PURGE_INTERVAL_SECONDS
        closing = False
        while not closing:
            jobs, closing = self._next_jobs(next_purge - time.monotonic())
            if jobs:
                self._serve(jobs)
            if time.monotonic() >= next_purge:
                removed = self._purge() if self._connection is not None else 0
                next_purge = time.monotonic() + (0 if removed == PURGE_ROWS else PURGE_INTERVAL_SECONDS)
        self._disconnect()

    def _next_jobs(self, timeout: float) -> tuple[list[_Job], bool]:
        """Wait for requests until `timeout`, in seconds. Return those that wait, and whether the store closes."""
        jobs: list[_Job] = []
        with suppress(queue.Empty):
            job = self._waiting.get(timeout=max(0.0, timeout))
            while job is not None:
                jobs.append(job)
                if len(jobs) == MAX_BATCH:
                    return jobs, False
                job = self._waiting.get_nowait()
            return jobs, True
        return jobs, False

    def _serve(self, jobs: Sequence[_Job], *, may_purge: bool = True) -> None:
        waiting = [job for job in jobs if not job.future.done()]
        if not waiting:
            return
        try:
            results = self._transact(waiting)
        except (sqlite3.Error, Rejected, Unavailable) as error:
            failure = failure_of(error, self._path) if isinstance(error, sqlite3.Error) else error
            self._serve_after(failure, waiting, may_purge=may_purge)
        except Exception:
            log.exception("the session store failed")
            for job in waiting:
                job.fail(Unavailable("the session store failed"))
        else:
            self._report("")
            for job, result in zip(waiting, results, strict=True):
                job.finish(result)

    def _serve_after(self, failure: Rejected | Unavailable, jobs: Sequence[_Job], *, may_purge: bool) -> None:
        """A full store still serves what needs no room, and has room again after expired rows are removed."""
        is_full = failure.reason == "SessionStoreFull"
        if is_full and may_purge and self._purge():
            self._serve(jobs, may_purge=False)
            return
        if is_full and len(jobs) > 1:
            for job in jobs:
                self._serve([job], may_purge=False)
            return
        self._report(failure.message)
        if failure.reason not in ("SessionStoreFull", "SessionStoreLocked"):
            self._disconnect()
        for job in jobs:
            job.fail(Unavailable(failure.message, retry_after=_retry_after(failure), reason=failure.reason))

    def _transact(self, jobs: Sequence[_Job]) -> list[Any]:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE" if any(job.writes for job in jobs) else "BEGIN")
        try:
            now = self._clock()
            results = [job.work(connection, now) for job in jobs]
            connection.execute("COMMIT")
        except BaseException:
            _roll_back(connection)
            raise
        return results

    def _purge(self) -> int:
        """Remove some expired rows. Returns how many."""
        oldest = "SELECT key FROM entries WHERE end <= ? ORDER BY end LIMIT ?"
        try:
            connection = self._connected()
            purged = connection.execute(f"DELETE FROM entries WHERE key IN ({oldest})", (self._clock(), PURGE_ROWS))  # noqa: S608
        except (sqlite3.Error, Rejected, Unavailable):
            return 0  # the next request reports it
        return purged.rowcount

    def _connected(self) -> sqlite3.Connection:
        if self._connection is not None and not self._is_in_place():
            log.error("the session store %s was deleted or replaced while in use; it is opened again", self._path)
            self._disconnect()
        if self._connection is None:
            connection = open_file(self._path, self._max_bytes)
            self._connection = connection
            try:
                self._identity = identity(self._path)
            except OSError:
                self._identity = ()  # deleted at this moment: the next request opens it again
        return self._connection

    def _is_in_place(self) -> bool:
        try:
            return identity(self._path) == self._identity
        except OSError:
            return False

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _report(self, problem: str) -> None:
        """Log a problem once, and its end."""
        if problem and problem != self._problem:
            log.error("users cannot log in: %s", problem)
        elif self._problem and not problem:
            log.info("the session store %s works again", self._path)
        self._problem = problem


def _retry_after(failure: Rejected | Unavailable) -> float:
    return failure.retry_after if isinstance(failure, Unavailable) else 30.0


def _roll_back(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _stored(connection: sqlite3.Connection, key: bytes, now: float) -> Stored | None:
    query = "SELECT version, value FROM entries WHERE key = ? AND end > ?"
    row = connection.execute(query, (key, now)).fetchone()
    return Stored(row[0], row[1]) if row else None


def _page(connection: sqlite3.Connection, after: bytes, now: float) -> ScanPage:
    """In the order of the keys. Rows that have ended are counted too: many of them must not make a page slow."""
    query = "SELECT key, version, end, value FROM entries WHERE key > ? ORDER BY key LIMIT ?"
    values, rows, size = list[tuple[bytes, Stored]](), 0, 0
    for key, version, end, value in connection.execute(query, (after, PAGE_ROWS)):
        after, rows, size = key, rows + 1, size + len(value)
        if now < end:
            values.append((key, Stored(version, value)))
        if size >= PAGE_BYTES:
            return ScanPage(now, tuple(values), after.hex())
    return ScanPage(now, tuple(values), after.hex() if rows == PAGE_ROWS else "")


def _write(connection: sqlite3.Connection, changes: Sequence[Put | Delete], now: float) -> bool:
    for change in changes:
        if isinstance(change, Put):
            found = connection.execute("SELECT version FROM entries WHERE key = ? AND end > ?", (change.key, now))
            if (found.fetchone() or (0,))[0] != change.if_version:
                return False
    for change in changes:
        if isinstance(change, Put):
            row = (change.key, change.if_version + 1, now + change.ttl, change.value)
            connection.execute("INSERT OR REPLACE INTO entries (key, version, end, value) VALUES (?, ?, ?, ?)", row)
        else:
            connection.execute("DELETE FROM entries WHERE key = ?", (change.key,))
    return True
