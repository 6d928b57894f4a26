"""Connections to a Valkey or Redis, for what the processes of all issuers share."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import redis.asyncio
from redis.exceptions import RedisError, ResponseError

from scopewright.core.failures import Rejected

CONNECTION_TIMEOUT_SECONDS: Final = 1.0
"""To get a connection from the pool, and to open it."""
OPERATION_TIMEOUT_SECONDS: Final = 2.0
"""For all steps together. The caller bounds it: the client library's timeouts for each read and write take a fifth of
the CPU time of a request.
"""
MAX_CONNECTIONS: Final = 32
"""Of one process, for each purpose. More would not help while the server hangs."""

PATIENCE_SECONDS: Final = 0.005
"""Commands wait at most this long for the answer to earlier ones."""
_UNCHECKED_SECONDS: Final = 0.1
"""After this time without use, a connection is checked before it is used again."""

Command = tuple[bytes | str | int, ...]
_Waiting = tuple[Command, asyncio.Future[Any]]
Connection = redis.asyncio.connection.AbstractConnection
OnConnect = Callable[[Connection], Awaitable[None]]


def client_of(url: str, reason: str, what: str, on_connect: OnConnect | None = None) -> redis.asyncio.Redis:
    """Return a client with its own pool of connections, which are opened when they are needed.

    `on_connect` logs in with `connection.on_connect()`, and raises a `RedisError` if it does not want the server.
    Raises `Rejected` with `reason` if `url`, of `what`, is wrong; the message does not contain it, since it may have a
    password.
    """
    try:
        _require_database(url)
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url.replace("valkey", "redis", 1) if url.startswith("valkey") else url,
            max_connections=MAX_CONNECTIONS,
            timeout=CONNECTION_TIMEOUT_SECONDS,
            socket_timeout=None,
            socket_connect_timeout=CONNECTION_TIMEOUT_SECONDS,
        )
        pool.connection_kwargs.update(decode_responses=False, redis_connect_func=on_connect)
        pool.connection_class(**pool.connection_kwargs)  # finds parameters that are unknown or wrong
    except (ValueError, TypeError, OSError, RedisError):
        raise Rejected(
            reason, f"{what} must be a URL such as redis://host:6379/0, or rediss://… for TLS, with known parameters"
        ) from None
    return redis.asyncio.Redis.from_pool(pool)


def _require_database(url: str) -> None:
    """Raises ValueError if the path is not the number of a database: redis-py would use database 0."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError


class TurnPipeline:
    """Sends the commands of one turn of the event loop in one round trip, with those that waited for the previous one.

    For a server under load: a round trip takes about 40 µs of CPU time, and each command 5. A pipeline of the client
    library, with a connection that the pool lends for each round trip, takes 100 µs. A lone command is sent at the end
    of its turn. What holds up one round trip holds up others for `PATIENCE_SECONDS`: after that they go over another
    connection. If the connection fails, all commands of the round trip fail, also those that the server has executed.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._pool = client.connection_pool
        self._kept: tuple[Connection, float] | None = None
        """The connection of the last round trip, and since when it is idle. The pool counts it as used."""
        self._commands: list[_Waiting] = []
        self._exchanges: set[asyncio.Task[None]] = set()
        self._leading: asyncio.Task[None] | None = None
        """The exchange that sends further commands once its round trip has ended."""
        self._overdue: asyncio.TimerHandle | None = None

    def call(self, *command: bytes | str | int) -> asyncio.Future[Any]:
        """The result, as the server gives it; `RedisError` or OSError, TimeoutError among them. A caller that is
        cancelled before its command is sent sends nothing, and later it leaves the other commands as they are.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()
        if not self._commands:
            loop.call_soon(self._on_turn_ended)
        self._commands.append((command, result))
        return result

    def _on_turn_ended(self) -> None:
        if self._leading is None:
            self._start()
        elif self._commands and self._overdue is None:
            self._overdue = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._start)

    def _start(self) -> None:
        if commands := self._take():
            exchange = self._leading = asyncio.create_task(self._exchange(commands), name="pipeline")
            self._exchanges.add(exchange)
            exchange.add_done_callback(partial(self._on_ended, commands))

    def _take(self) -> list[_Waiting]:
        if self._overdue is not None:
            self._overdue.cancel()
            self._overdue = None
        commands, self._commands = [each for each in self._commands if not each[1].done()], []
        return commands

    async def _exchange(self, commands: list[_Waiting]) -> None:
        while commands:
            await self._round_trip(commands)
            commands = self._take() if self._leading is asyncio.current_task() else []

    def _on_ended(self, commands: list[_Waiting], exchange: asyncio.Task[None]) -> None:
        """`commands` have their results, unless the task was cancelled before it began."""
        self._exchanges.discard(exchange)
        for _, waiting in commands:
            waiting.cancel()
        if self._leading is exchange:
            self._leading = None
            self._start()

    async def _round_trip(self, commands: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                results = await self._results([command for command, _ in commands])
        except Exception as error:
            results = [error] * len(commands)
        except asyncio.CancelledError:
            for _, waiting in commands:
                waiting.cancel()
            raise
        for (_, waiting), result in zip(commands, results, strict=True):
            if waiting.done():
                continue
            if isinstance(result, Exception):
                waiting.set_exception(result)
            else:
                waiting.set_result(result)

    async def _results(self, commands: list[Command]) -> list[Any]:
        """Refused commands have their `ResponseError` as result."""
        connection = await self._connected()
        try:
            await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            results = [await _response(connection) for _ in commands]
        except BaseException:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
            raise
        if self._leading is asyncio.current_task() and self._kept is None:
            self._kept = (connection, time.monotonic())
        else:
            await self._pool.release(connection)
        return results

    async def _connected(self) -> Connection:
        """The kept connection, or one of the pool, which checks it: that takes more time than a round trip."""
        kept, self._kept = self._kept, None
        if kept is not None:
            connection, since = kept
            if time.monotonic() - since < _UNCHECKED_SECONDS and not _is_closed(connection):
                return connection
            await self._pool.release(connection)
        connected: Connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]
        return connected


def _is_closed(connection: Connection) -> bool:
    """Whether the server is known to have closed it. The library has no public name for that."""
    reader = connection._reader  # noqa: SLF001
    return reader is None or reader.at_eof()


async def _response(connection: Connection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused
