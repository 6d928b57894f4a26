"""Name resolution in threads of its own: a DNS server that does not answer delays no other part of the process."""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from scopewright.upstream.addresses import Address

Resolve = Callable[[str, int], Awaitable[tuple[Address, ...]]]
"""The addresses of a host name and port. Raises OSError or UnicodeError."""

_THREADS: Final = 32
"""A name whose DNS server does not answer takes one of them for half a minute. A provider has four names at most: those
of its endpoints. Threads begin when they are needed.
"""


class Resolver:
    """Resolves by the system. Concurrent questions for one name are one question."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "scopewright-upstream-names")
        self._asked: dict[tuple[str, int], asyncio.Future[tuple[Address, ...]]] = {}

    async def __call__(self, host: str, port: int) -> tuple[Address, ...]:
        key = host, port
        answer = self._asked.get(key)
        if answer is None:
            loop = asyncio.get_running_loop()
            answer = self._asked[key] = loop.run_in_executor(self._threads, _addresses, host, port)
            answer.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(answer)

    def _forget(self, key: tuple[str, int], done: "asyncio.Future[tuple[Address, ...]]") -> None:
        self._asked.pop(key, None)
        if not done.cancelled():
            done.exception()  # retrieved, also if no request waits for it any more

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _addresses(host: str, port: int) -> tuple[Address, ...]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
