"""Shares the event loop between users and client tokens: one step of a user's request runs in each turn of the loop.

A client's token is decided as soon as its request has been read. A user's request runs in steps, between waits for the
session store, and the longest step signs an ID token, which takes milliseconds. Without turns, all steps whose answers
from the store have arrived would run before the next client's request is read.

Steps wait in three lines, which take turns: pages, codes, and all others. A refresh takes one turn and a login about
twelve, so in one line a flood of refreshes, even of one application, would keep every login waiting until its time is
over.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Literal, TypeVar

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions import Delete, Found, Put, ScanPage, SessionStore

T = TypeVar("T")
Line = Literal["pages", "codes", "others"]

_LINE: Final[ContextVar[Line]] = ContextVar("line", default="others")


@contextmanager
def in_line(line: Line) -> Iterator[None]:
    """Steps of the caller wait in `line` during the block."""
    token = _LINE.set(line)
    try:
        yield
    finally:
        _LINE.reset(token)


class Turns:
    """One for all users' requests of a process. It costs nothing while one request is served at a time."""

    def __init__(self) -> None:
        self._waiting: dict[Line, deque[asyncio.Future[None]]] = {}
        """The line whose turn is next is the first. None is empty."""
        self._taken = False
        """Whether a step runs in this turn of the event loop."""

    async def one(self) -> None:
        """Wait until a step may run: until the next wait of the caller.

        In each line, the first that waits is the first to run.
        """
        loop = asyncio.get_running_loop()
        if not self._taken:
            self._taken = True
            loop.call_soon(self._next, loop)
            return
        future = loop.create_future()
        self._waiting.setdefault(_LINE.get(), deque()).append(future)
        await future

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting:
            line = next(iter(self._waiting))
            waiting = self._waiting.pop(line)
            future = waiting.popleft()
            if waiting:
                self._waiting[line] = waiting
            if not future.done():  # not cancelled
                future.set_result(None)
                loop.call_soon(self._next, loop)
                return
        self._taken = False


class SessionsInTurns:
    """A session store whose callers go on in turns. Implements `SessionStore`."""

    def __init__(self, store: SessionStore, turns: Turns) -> None:
        self._store = store
        self._turns = turns

    async def get(self, *keys: bytes) -> Found:
        return await self._then_turn(self._store.get(*keys))

    async def write(self, *changes: Put | Delete) -> bool:
        return await self._then_turn(self._store.write(*changes))

    async def scan(self, start: str = "") -> ScanPage:
        return await self._store.scan(start)

    async def store_id(self) -> str:
        return await self._store.store_id()

    async def close(self) -> None:
        await self._store.close()

    async def _then_turn(self, request: Awaitable[T]) -> T:
        """Failures too: while the store is away, all requests fail at once."""
        try:
            result = await request
        except Unavailable:
            await self._turns.one()
            raise
        await self._turns.one()
        return result
