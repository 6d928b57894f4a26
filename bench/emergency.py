"""A signing key has leaked: how long from `revokedBefore` until no issuer serves an older key."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Final

import httpx

from bench.replicas import HOST, Replicas
from bench.seeing import kids
from bench.turning import Rotator

LOOK_EVERY: Final = 0.01


async def emergency(running: Replicas, rotator: Rotator) -> float:
    """Seconds. Whoever leads has just shown that it does, and every issuer is ready."""
    await rotator.keys(0, 1)
    for replica in running.issuers:
        await replica.until_ready(running.http)
    older = {kid for port in running.ports for kid in await _served(running.http, port)}
    await rotator.revoke_keys(await _next_second())
    began = time.monotonic()
    await asyncio.gather(*(_until_gone(running.http, port, older) for port in running.ports))
    return time.monotonic() - began


async def _next_second() -> datetime:
    """`revokedBefore` has whole seconds: every key that there is must be older than the one that begins."""
    await asyncio.sleep(1 - time.time() % 1)
    return datetime.now(UTC).replace(microsecond=0)


async def _until_gone(client: httpx.AsyncClient, port: int, older: set[str]) -> None:
    while True:
        if older.isdisjoint(await _served(client, port)):
            return
        await asyncio.sleep(LOOK_EVERY)


async def _served(client: httpx.AsyncClient, port: int) -> set[str]:
    return kids(await client.get(f"http://{HOST}:{port}/jwks.json"))
