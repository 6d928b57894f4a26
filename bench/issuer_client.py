"""Asking an issuer for tokens, as cheaply as can be: what asks shares two cores with what is asked."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

from bench.waiting import PATIENCE, within
from scopewright.stores import Entries

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CONNECTIONS: Final = 16


class Asking:
    """A few connections, made when they are needed and kept open for as long as the issuer keeps them."""

    def __init__(self, host: str, port: int) -> None:
        self._at = host, port
        self._host = f"{host}:{port}".encode()
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)

    @classmethod
    @asynccontextmanager
    async def at(cls, host: str, port: int) -> AsyncIterator["Asking"]:
        asking = cls(host, port)
        try:
            yield asking
        finally:
            while not asking._free.empty():
                if connection := asking._free.get_nowait():
                    connection[1].close()

    async def ask(self, credential: Entries, audience: str) -> tuple[int, bytes]:
        """A token for the audience, with the credential of a Secret: the status and the body of the answer."""
        basic = base64.b64encode(credential["client_id"] + b":" + credential["client_secret"])
        body = b"grant_type=client_credentials&resource=" + quote(audience, safe="").encode()
        async with within(PATIENCE, "an answer of the issuer"):
            return await self._exchange(basic, body)

    async def _exchange(self, basic: bytes, body: bytes) -> tuple[int, bytes]:
        connection = await self._free.get()
        if connection is None or connection[0].at_eof():
            connection = await asyncio.open_connection(*self._at)
        reader, writer = connection
        writer.write(
            b"POST /token HTTP/1.1\r\nHost: %b\r\nAuthorization: Basic %b\r\nContent-Length: %d\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%b" % (self._host, basic, len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(_length(head))
        self._free.put_nowait(connection)
        return int(head[9:12]), answer


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
