"""Sends commands to a Valkey or Redis: one write and one read for each.

A login takes eight. The client library's own way to a command (its pool, retries, callbacks, and a timeout for each
step) takes twice the CPU time. Connections are still the library's: addresses, TLS, logins and the format of answers.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import redis.asyncio
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import NoScriptError

from scopewright.stores.valkey import CONNECTION_TIMEOUT_SECONDS, MAX_CONNECTIONS, Connection

Part = bytes | str | int
"""Of a command. Text is sent as UTF-8."""


@dataclass(frozen=True, slots=True)
class Script:
    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


class Commands:
    """At most MAX_CONNECTIONS are open, each made as `pool` would; a command that needs one more waits.

    The caller bounds the time. A command that is cancelled closes its connection: the answer would be that of the next.
    """

    def __init__(self, pool: redis.asyncio.ConnectionPool) -> None:
        self._pool = pool
        self._free: list[Connection] = []
        self._places: Final = asyncio.Semaphore(MAX_CONNECTIONS)

    async def run(self, script: Script, keys: list[bytes], arguments: list[Part]) -> Any:
        """As `call`."""
        try:
            return await self.call("EVALSHA", script.digest, len(keys), *keys, *arguments)
        except NoScriptError:  # the server is new, or has restarted
            return await self.call("EVAL", script.text, len(keys), *keys, *arguments)

    async def call(self, *parts: Part) -> Any:
        """Return the answer to a command, with bytes for texts; raises `RedisError` or `OSError`."""
        command = _packed(parts)
        async with self._place():
            while self._free:
                connection = self._free.pop()
                if not _is_in_step(connection):
                    await connection.disconnect(nowait=True)
                    continue
                try:
                    return await self._send(connection, command)
                except ConnectionLost:  # the server has closed it, perhaps long ago
                    continue
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            await connection.connect()
            connection.socket_timeout = None
            return await self._send(connection, command)

    async def close(self) -> None:
        while self._free:
            await self._free.pop().disconnect()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """The wait ends before the caller's bound: else those that wait while the server hangs would open connections
        in place of those that were just closed.
        """
        if self._places.locked():
            async with asyncio.timeout(CONNECTION_TIMEOUT_SECONDS):
                await self._places.acquire()
        else:
            await self._places.acquire()
        try:
            yield
        finally:
            self._places.release()

    async def _send(self, connection: Connection, command: bytes) -> Any:
        try:
            await connection.send_packed_command(command, check_health=False)
            return await connection.read_response()
        finally:
            if connection.is_connected:  # also after an answer that is an error
                self._free.append(connection)


def _is_in_step(connection: Connection) -> bool:
    """Whether the next answer is that of the next command: the server has sent nothing unasked, and has not closed.

    Proxies, and servers before they close, send errors that answer no command.
    """
    reader = connection._reader  # noqa: SLF001  # the library's own check waits for a turn of the event loop
    return reader is not None and not reader._buffer and not reader.at_eof()  # type: ignore[attr-defined]  # noqa: SLF001


def _packed(parts: tuple[Part, ...]) -> bytes:
    """A command as the server reads it (RESP 2)."""
    pieces = [b"*%d\r\n" % len(parts)]
    for part in parts:
        value = part if isinstance(part, bytes) else str(part).encode()
        pieces.append(b"$%d\r\n%b\r\n" % (len(value), value))
    return b"".join(pieces)
