"""Connections to a Valkey or Redis, for what the processes of all issuers share."""

from collections.abc import Awaitable, Callable
from typing import Final
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
