"""Repeats reads and writes of stored values that lost against a concurrent writer, a bounded number of times."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from scopewright.core.failures import Unavailable
from scopewright.stores.sessions.sealed import Forget, Save, SealedSessions

T = TypeVar("T")

MAX_ATTEMPTS: Final = 10
_FIRST_PAUSE_SECONDS: Final = 0.002
"""The longest pause before the second attempt. It doubles with each further one: 1 s before the tenth."""


class LostWrite(Exception):
    """Another writer has changed what was read: read again."""


async def save_or_lose(store: SealedSessions, *changes: Save | Forget) -> None:
    """Make all changes; raises LostWrite if a version is not the stored one any more."""
    if not await store.write(*changes):
        raise LostWrite


async def retry_lost(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `attempt`, which reads, decides and writes, and is repeated after LostWrite.

    Raises `Unavailable` if every attempt lost.
    """
    for number in range(MAX_ATTEMPTS):
        try:
            return await attempt()
        except LostWrite:
            await asyncio.sleep(random.uniform(0, _FIRST_PAUSE_SECONDS * 2**number))  # noqa: S311  # no secret
    raise Unavailable("the stored session was changed by too many requests at once")
