"""Computes password hashes in threads: few at a time, because each takes up to 64 MiB and a whole core."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from scopewright.issuer.upstream.login import PasswordsBusy

CONCURRENCY: Final = 2
"""Computations at a time in a process: they take at most 2 × 64 MiB."""
QUEUE: Final = 20
"""Computations that wait for their turn, in the order in which they came."""
NICE: Final = 10
"""Of the threads that compute: where processors are busy, the thread of requests gets ten times the share of each."""
TURN_SECONDS: Final = 3.0
"""How long they wait: with the wait for the turn of the user, less than the 10 s of a request of users."""


def _lower_priority_of_thread() -> None:
    """Tokens come first where processors are busy. Linux has a nice value for each thread, other systems have not."""
    if sys.platform == "linux":
        with suppress(OSError):  # such as in a sandbox that does not allow it
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, max(NICE, os.getpriority(os.PRIO_PROCESS, thread)))


class Computations:
    """Of one process."""

    def __init__(self, concurrency: int = CONCURRENCY, queue: int = QUEUE, turn_seconds: float = TURN_SECONDS) -> None:
        self._concurrency = concurrency
        self._most = concurrency + queue
        self._admitted = 0
        self._turn_seconds = turn_seconds
        self._turns = asyncio.Semaphore(concurrency)
        self._threads = ThreadPoolExecutor(
            concurrency, thread_name_prefix="passwords", initializer=_lower_priority_of_thread
        )

    @property
    def load(self) -> tuple[int, int]:
        """How many are computed, and how many wait."""
        running = min(self._admitted, self._concurrency)
        return running, self._admitted - running

    async def run(self, compute: Callable[[], bool]) -> bool:
        """Return the result. Raises `PasswordsBusy` if the queue is full, or too slow.

        A caller that is cancelled gives up its place in the queue. A computation that has begun cannot be stopped: it
        keeps its place until it ends.
        """
        if self._admitted >= self._most:
            raise PasswordsBusy
        self._admitted += 1
        try:
            async with asyncio.timeout(self._turn_seconds):
                await self._turns.acquire()
        except TimeoutError:
            self._admitted -= 1
            raise PasswordsBusy from None
        except BaseException:
            self._admitted -= 1
            raise
        computing = asyncio.get_running_loop().run_in_executor(self._threads, compute)
        computing.add_done_callback(self._ended)
        return await asyncio.shield(computing)

    def _ended(self, computed: asyncio.Future[bool]) -> None:
        computed.exception()  # retrieved, also if no caller waits any more
        self._admitted -= 1
        self._turns.release()
