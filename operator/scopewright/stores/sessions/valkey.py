"""A session store in a Valkey or Redis, which all issuers of an installation share.

A value is one string: its version in 8 bytes, then the value. Each request is one script, which the server runs as a
whole: a write compares all versions before it changes anything. Scripts run on the primary only, because none is
declared to be without writes. The server's clock ends values.

Each answer begins with the id of its request. An unasked message of a server or a proxy would otherwise shift the
answers of a connection: the answer to one user's request would be used for another's.
"""

import asyncio
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final, cast

from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import InvalidResponse, NoScriptError, RedisError

from scopewright.core.failures import Rejected, Unavailable
from scopewright.stores.sessions import Delete, Found, Put, ScanPage, Stored
from scopewright.stores.sessions.valkey_server import INFO_SECTIONS, UNFIT, failure_of, require_fit
from scopewright.stores.valkey import OPERATION_TIMEOUT_SECONDS, Connection, client_of

log: Final = logging.getLogger(__name__)

MAX_ENTRY_BYTES: Final = 512 * 1024
"""Of one value with its version: twice `sealed.MAX_VALUE_BYTES`. No more is read of what another program wrote."""
CHECK_SECONDS: Final = 60.0
"""Between checks of the server's settings, beside one for each new connection."""

PAUSE_SECONDS: Final = 0.1
"""After a server could not be reached, requests fail at once for this long: attempts take time from client tokens."""
PAGE_KEYS: Final = 50
"""Keys that the server examines for a page, those of other programs too, and keys of one read. A page of the largest
values has 25 MiB.
"""
_KEY_LENGTH: Final = 64
"""Of a key without its prefix, in hex."""
_VERSION_BYTES: Final = 8
_MAX_VERSION: Final = 1 << 62
_REQUEST_ID_BYTES: Final = 8

_Part = bytes | str | int
"""Of a command. Text is sent as UTF-8."""


@dataclass(frozen=True, slots=True)
class _Script:
    """Its last argument is the id of the request, with which its answer begins."""

    text: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
        object.__setattr__(self, "digest", digest)


_READ: Final = _Script("""#!lua flags=allow-oom
local head, values = redis.call('TIME'), {}
for i, key in ipairs(KEYS) do
  values[i] = redis.call('GETRANGE', key, 0, ARGV[1])
  head[i + 2] = #values[i]
end
return ARGV[#ARGV] .. table.concat(head, ' ') .. '\\n' .. table.concat(values)
""")
"""One string: the client library takes two reads for each."""
_WRITE: Final = _Script("""#!lua
for i, key in ipairs(KEYS) do
  local version, ttl = ARGV[3 * i - 2], ARGV[3 * i - 1]
  if ttl ~= '' and redis.call('GETRANGE', key, 0, 7) ~= version then return ARGV[#ARGV] .. '0' end
end
for i, key in ipairs(KEYS) do
  local ttl, value = ARGV[3 * i - 1], ARGV[3 * i]
  if ttl == '' then redis.call('DEL', key) else redis.call('SET', key, value, 'PX', ttl) end
end
return ARGV[#ARGV] .. '1'
""")
_DELETE: Final = _Script(_WRITE.text.replace("#!lua", "#!lua flags=allow-oom", 1))
"""Deletions need no room: a full server makes them."""
_MAKE_ID: Final = _Script("""#!lua flags=allow-oom
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return ARGV[#ARGV] .. redis.call('GETRANGE', KEYS[1], 0, 63)
""")


class ValkeySessions:
    """Connections are opened when they are needed, at most `stores.valkey.MAX_CONNECTIONS`. One instance a process."""

    def __init__(self, url: str, namespace: str) -> None:
        """`namespace` is that of the issuer, and a part of every key. Raises `Rejected` if `url` is wrong."""
        self._client = client_of(url, "BadSessions", "the session store", self._greet)
        self._client.response_callbacks.clear()  # answers as the server gives them
        self._prefix = f"scopewright:sessions:{namespace}:".encode()
        self._next_check = 0.0
        self._problem = ""
        self._failure: Unavailable | None = None
        self._pause_end = 0.0

    async def get(self, *keys: bytes) -> Found:
        now, entries = await self._read(self._names(keys))
        return Found(now, tuple(_stored(entry) for entry in entries))

    async def write(self, *changes: Put | Delete) -> bool:
        arguments: list[_Part] = []
        for change in changes:
            arguments += _arguments(change)
        script = _WRITE if any(isinstance(change, Put) for change in changes) else _DELETE
        return await self._run(script, self._names([change.key for change in changes]), arguments) == b"1"

    async def scan(self, start: str = "") -> ScanPage:
        """The user of the URL must be permitted to call `scan`, which issuers do not need."""
        match = self._prefix + b"?" * _KEY_LENGTH
        command = ("SCAN", start or "0", "MATCH", match, "COUNT", PAGE_KEYS, "TYPE", "string")
        cursor, names = await self._guarded(lambda: self._call(*command))
        now, values = 0.0, list[tuple[bytes, Stored]]()
        for first in range(0, max(1, len(names)), PAGE_KEYS):
            some = names[first : first + PAGE_KEYS]
            now, entries = await self._read(some)
            values += [found for name, entry in zip(some, entries, strict=True) if (found := self._found(name, entry))]
        return ScanPage(now, tuple(values), cursor.decode() if cursor != b"0" else "")

    async def store_id(self) -> str:
        made = secrets.token_hex(16)
        return (await self._run(_MAKE_ID, [self._prefix + b"id"], [made])).decode()

    async def check(self) -> None:
        """Raises `Rejected` if the server must not hold sessions, with what to do, and `Unavailable` if it is away."""
        try:
            await self._guarded(lambda: self._call("PING"))
        except Unavailable as error:
            if error.reason == UNFIT:
                raise Rejected(error.reason, error.message) from None
            raise

    async def close(self) -> None:
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                await self._client.aclose()
        except (RedisError, OSError) as error:
            log.warning("closing the connections to the session store failed: %s", type(error).__name__)

    def _found(self, name: bytes, entry: bytes) -> tuple[bytes, Stored] | None:
        """None if the value has ended meanwhile, or is one of another program."""
        try:
            stored = _stored(entry)
            return (bytes.fromhex(name[len(self._prefix) :].decode()), stored) if stored else None
        except (ValueError, Unavailable):
            return None

    def _names(self, keys: Sequence[bytes]) -> list[bytes]:
        return [self._prefix + key.hex().encode() for key in keys]

    async def _read(self, names: list[bytes]) -> tuple[float, list[bytes]]:
        """The server's clock, and what is stored under each name: empty for nothing."""
        head, _, values = (await self._run(_READ, names, [MAX_ENTRY_BYTES])).partition(b"\n")
        seconds, microseconds, *sizes = map(int, head.split())
        ends = accumulate(sizes)
        return seconds + microseconds / 1e6, [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    async def _run(self, script: _Script, names: list[bytes], arguments: list[_Part]) -> bytes:
        request_id = secrets.token_hex(_REQUEST_ID_BYTES).encode()
        answer = await self._guarded(lambda: self._evaluated(script, names, [*arguments, request_id], request_id))
        return cast("bytes", answer)

    async def _evaluated(self, script: _Script, names: list[bytes], arguments: list[_Part], request_id: bytes) -> bytes:
        """The answer without the id of the request."""
        try:
            answer = await self._call("EVALSHA", script.digest, len(names), *names, *arguments)
        except NoScriptError:  # the server is new, or has restarted
            answer = await self._call("EVAL", script.text, len(names), *names, *arguments)
        if not isinstance(answer, bytes) or not answer.startswith(request_id):
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise InvalidResponse
        return answer.removeprefix(request_id)

    async def _call(self, *command: _Part) -> Any:
        return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]

    async def _guarded(self, request: Callable[[], Awaitable[Any]]) -> Any:
        """The result of a request; raises `Unavailable`, with a line in the log when a problem begins and ends."""
        if self._failure is not None and time.monotonic() < self._pause_end:
            raise Unavailable(self._failure.message, refused=True)
        try:
            async with asyncio.timeout(OPERATION_TIMEOUT_SECONDS):
                if time.monotonic() >= self._next_check:
                    require_fit(await self._call("INFO", *INFO_SECTIONS))
                    self._next_check = time.monotonic() + CHECK_SECONDS
                result = await request()
        except (RedisError, OSError) as error:
            failure = failure_of(error)
            self._report(failure.message)
            if _refuses_connections(error):
                self._failure, self._pause_end = failure, time.monotonic() + PAUSE_SECONDS
            raise failure from None
        self._failure = None
        self._report("")
        return result

    async def _greet(self, connection: Connection) -> None:
        await connection.on_connect()
        await connection.send_command("INFO", *INFO_SECTIONS)
        require_fit(await connection.read_response())

    def _report(self, problem: str) -> None:
        if problem and problem != self._problem:
            log.error("users cannot log in: %s", problem)
        elif self._problem and not problem:
            log.info("the session store works again")
        self._problem = problem


def _refuses_connections(error: RedisError | OSError) -> bool:
    """Not if it hangs, or if all connections are taken: the first request after that is served."""
    cause = error.__cause__ or error.__context__
    return isinstance(error, ConnectionLost) and isinstance(cause, OSError) and not isinstance(cause, TimeoutError)


def _arguments(change: Put | Delete) -> list[_Part]:
    """For the script: the version that must be stored (empty: none), milliseconds (empty: delete), and the value."""
    if isinstance(change, Delete):
        return [b"", b"", b""]
    entry = _version(change.if_version + 1) + change.value
    if len(entry) > MAX_ENTRY_BYTES:
        raise ValueError(f"a stored value has at most {MAX_ENTRY_BYTES - _VERSION_BYTES} bytes")
    expected = _version(change.if_version) if change.if_version else b""
    return [expected, max(1, math.ceil(change.ttl * 1000)), entry]


def _version(number: int) -> bytes:
    return number.to_bytes(_VERSION_BYTES)


def _stored(entry: bytes) -> Stored | None:
    if not entry:
        return None
    version = int.from_bytes(entry[:_VERSION_BYTES])
    if len(entry) < _VERSION_BYTES or not 0 < version < _MAX_VERSION:
        raise Unavailable("the session store has a value of another program under a key of Scopewright", refused=True)
    return Stored(version, entry[_VERSION_BYTES:])
