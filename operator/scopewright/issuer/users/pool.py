"""Bounds the requests of users that are handled at once, so that they never take the memory or the time of tokens."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from scopewright.issuer.protocol.responses import Answer, HttpRequest
from scopewright.issuer.users.turns import Turns, in_line

MAX_REQUESTS: Final = 64
TIMEOUT_SECONDS: Final = 10.0
MAX_SLOW_REQUESTS: Final = 32
"""Requests that wait for providers, and as many that wait for passwords. Other steps of logins have the rest."""
MAX_SLOW_REQUESTS_EACH: Final = 16
"""Requests that wait for one provider: the users of the others can still log in."""
MAX_BODY_BYTES: Final = 32 * 1024 * 1024
"""Of all requests at once."""


class PoolExhausted(Exception):
    """Too many requests at once (`busy`), or one took too long (`timeout`)."""

    def __init__(self, cause: Literal["busy", "timeout"]) -> None:
        super().__init__(cause)
        self.cause: Final = cause


class UserPool:
    def __init__(
        self,
        requests: int = MAX_REQUESTS,
        timeout: float = TIMEOUT_SECONDS,
        body_bytes: int = MAX_BODY_BYTES,
        turns: Turns | None = None,
    ) -> None:
        self.limit: Final = requests
        self._requests = requests
        self._timeout = timeout
        self._body_bytes = body_bytes
        self._turns = turns or Turns()

    @property
    def in_progress(self) -> int:
        """Requests that are handled now."""
        return self.limit - self._requests

    async def run(self, http: HttpRequest, handle: Callable[[], Awaitable[Answer]]) -> Answer:
        """Raises PoolExhausted."""
        size = len(http.body)
        if not self._requests or size > self._body_bytes:
            raise PoolExhausted("busy")
        self._requests -= 1
        self._body_bytes -= size
        try:
            async with asyncio.timeout(self._timeout):
                with in_line("pages"):
                    await self._turns.one()
                    return await handle()
        except TimeoutError:
            raise PoolExhausted("timeout") from None
        finally:
            self._requests += 1
            self._body_bytes += size


class Places:
    """Bounds the requests that wait for one thing at once."""

    def __init__(self, count: int = MAX_SLOW_REQUESTS) -> None:
        self._free = count

    @contextmanager
    def one(self) -> Iterator[None]:
        """Raises PoolExhausted."""
        if not self._free:
            raise PoolExhausted("busy")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class SharedPlaces:
    """Places that are shared by several things to wait for, such as providers: each has `each` of them at most."""

    def __init__(self, count: int = MAX_SLOW_REQUESTS, each: int = MAX_SLOW_REQUESTS_EACH) -> None:
        self._places = Places(count)
        self._each = each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, key: str) -> Iterator[None]:
        """Raises PoolExhausted."""
        if self._taken[key] >= self._each:
            raise PoolExhausted("busy")
        with self._places.one():
            self._taken[key] += 1
            try:
                yield
            finally:
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]
