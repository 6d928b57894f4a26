"""Waits for what no event of asyncio tells: the work of threads, processes and other tasks."""

import asyncio
from collections.abc import Callable
from typing import Final

_LIMIT_SECONDS: Final = 30
"""Only a failure takes as long."""


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    async with asyncio.timeout(_LIMIT_SECONDS):
        while not condition():  # noqa: ASYNC110  # there is no event for it
            await asyncio.sleep(0.005)
