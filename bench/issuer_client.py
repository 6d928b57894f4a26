"""A client of the token endpoint with little CPU cost: it shares the cores with the issuer that is measured."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import quote

from bench.timeouts import TIMEOUT_SECONDS, time_limit
from scopewright.stores import Entries

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CONNECTIONS: Final = 16


class IssuerClient:
    """A pool of connections, opened on demand and kept until the issuer closes them."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._host = f"{host}:{port}".encode()
        self._free: asyncio.LifoQueue[Connection | None] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            self._free.put_nowait(None)

    @classmethod
    @asynccontextmanager
    async def open(cls, host: str, port: int) -> AsyncIterator["IssuerClient"]:
        client = cls(host, port)
        try:
            yield client
        finally:
            while not client._free.empty():
                if connection := client._free.get_nowait():
                    connection[1].close()

    async def request_token(self, credential: Entries, audience: str) -> tuple[int, bytes]:
        """Request a token for the audience with the entries of a client's Secret; return status and body."""
        basic = base64.b64encode(credential["client_id"] + b":" + credential["client_secret"])
        body = b"grant_type=client_credentials&resource=" + quote(audience, safe="").encode()
        async with time_limit(TIMEOUT_SECONDS, "a response of the issuer"):
            return await self._exchange(basic, body)

    async def _exchange(self, basic: bytes, body: bytes) -> tuple[int, bytes]:
        connection = await self._free.get()
        if connection is None or connection[0].at_eof():
            connection = await asyncio.open_connection(*self._address)
        reader, writer = connection
        writer.write(
            b"POST /token HTTP/1.1\r\nHost: %b\r\nAuthorization: Basic %b\r\nContent-Length: %d\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\n%b" % (self._host, basic, len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        content = await reader.readexactly(_length(head))
        self._free.put_nowait(connection)
        return int(head[9:12]), content


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
