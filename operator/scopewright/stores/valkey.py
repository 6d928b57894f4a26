"""Connections to a Valkey or Redis, for what the processes of all issuers share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import urlsplit

import redis.asyncio
from redis.exceptions import RedisError

from scopewright.core.failures import Rejected

CONNECTION_TIMEOUT_SECONDS: Final = 1.0
"""To get a connection from the pool, and to open it."""
OPERATION_TIMEOUT_SECONDS: Final = 2.0
"""For all steps together. The caller bounds it: the client library's timeouts for each read and write take a fifth of
the CPU time of a request.
"""
MAX_CONNECTIONS: Final = 32
"""Of one process, for each purpose. More would not help while the server hangs."""

Command = tuple[bytes | str | int, ...]
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
    """Sends the commands of one turn of the event loop in one round trip, on one connection.

    For a server under load: eight commands of one turn take a fifth of the CPU time of eight round trips. Commands of
    different turns do not wait for each other, so what holds up one round trip holds up no other. If the connection
    fails, all commands of the turn fail, also those that the server has executed.
    """

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._commands: list[tuple[Command, asyncio.Future[Any]]] = []
        self._exchanges: set[asyncio.Task[None]] = set()

    async def call(self, *command: bytes | str | int) -> Any:
        """The result; raises `RedisError` or OSError, TimeoutError among them. A caller that is cancelled before its
        turn ends sends nothing, and one that is cancelled later leaves the other commands as they are.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[Any] = loop.create_future()
        if not self._commands:
            loop.call_soon(self._send)
        self._commands.append((command, result))
        return await result

    def _send(self) -> None:
        commands, self._commands = [each for each in self._commands if not each[1].done()], []
        if commands:
            exchange = asyncio.create_task(self._exchange(commands), name="pipeline")
            self._exchanges.add(exchange)
            exchange.add_done_callback(self._exchanges.discard)

    async def _exchange(self, commands: list[tuple[Command, asyncio.Future[Any]]]) -> None:
        """All have the same time, because all were called in the same turn."""
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                pipeline = self.client.pipeline(transaction=False)
                for command, _ in commands:
                    pipeline.execute_command(*command)
                results = _one_each(await pipeline.execute(raise_on_error=False), len(commands))
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


def _one_each(results: list[Any], commands: int) -> list[Any]:
    if len(results) != commands:
        raise ConnectionError(f"the server answered {len(results)} of {commands} commands")
    return results
