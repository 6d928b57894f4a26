"""Clients that request tokens from their own address during an attack."""

import asyncio
import base64
import contextlib
import ssl
import time
from dataclasses import dataclass, field
from itertools import count
from statistics import quantiles
from typing import Final

ADDRESS: Final = "127.0.0.100"
_CALLERS: Final = 4
_TOKENS_PER_CONNECTION: Final = 10
"""After these tokens a caller opens a new connection."""
_PAUSE_SECONDS: Final = 0.005
_TIMEOUT_SECONDS: Final = 20.0


@dataclass
class Seen:
    """Seconds until each token was received, including the connection, and the failures of requests without a token."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        cuts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return (
            f"{len(self.seconds)} tokens, {len(self.failures)} failures, p50 {cuts[49] * 1000:.1f} ms, "
            f"p99 {cuts[98] * 1000:.1f} ms"
        )


class Callers:
    """A context manager. Inside it, the callers request tokens."""

    def __init__(self, port: int, client: tuple[str, str], tls: ssl.SSLContext | None = None) -> None:
        basic = base64.b64encode(":".join(client).encode())
        body = b"grant_type=client_credentials&resource=https://payroll-api.payroll.svc"
        self._request = (
            b"POST /token HTTP/1.1\r\nHost: issuer\r\nAuthorization: Basic %b\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
            % (basic, len(body), body)
        )
        self._port = port
        self._tls = tls
        self.seen = Seen()

    async def __aenter__(self) -> Seen:
        self._tasks = [asyncio.create_task(self._call()) for _ in range(_CALLERS)]
        return self.seen

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self) -> None:
        writer: asyncio.StreamWriter | None = None
        try:
            for n in count():
                begun = time.perf_counter()
                try:
                    async with asyncio.timeout(_TIMEOUT_SECONDS):
                        if writer is None or not n % _TOKENS_PER_CONNECTION:
                            if writer is not None:
                                writer.close()
                            reader, writer = await asyncio.open_connection(
                                "127.0.0.1", self._port, ssl=self._tls, local_addr=(ADDRESS, 0)
                            )
                        writer.write(self._request)
                        head = await reader.readuntil(b"\r\n\r\n")
                        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                        await reader.readexactly(length)
                except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                    self.seen.failures.append(f"{type(error).__name__}: {error}")
                    writer = None
                else:
                    if head.startswith(b"HTTP/1.1 200 "):
                        self.seen.seconds.append(time.perf_counter() - begun)
                    else:
                        self.seen.failures.append(head.decode("latin-1").partition("\r\n")[0])
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            if writer is not None:
                with contextlib.suppress(OSError):
                    writer.close()
