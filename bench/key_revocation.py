"""A signing key has leaked: how long from `revokedBefore` until no issuer serves an older key."""

import asyncio
import time
from typing import Final

import httpx

from bench.replicas import HOST, Replicas
from bench.seeing import kids
from bench.turning import Rotator
from bench.waiting import PATIENCE, next_second, within

LOOK_EVERY: Final = 0.01


async def emergency(running: Replicas, rotator: Rotator) -> float:
    """Seconds. Whoever leads has just shown that it does, and every issuer is ready."""
    await rotator.keys(0, 1)
    for replica in running.issuers:
        await replica.until_ready(running.http)
    older = {kid for port in running.ports for kid in await _served(running.http, port)}
    # `revokedBefore` has whole seconds: every key that there is must be older than the one that begins.
    await rotator.revoke_keys(await next_second())
    began = time.monotonic()
    await asyncio.gather(*(_until_gone(running.http, port, older) for port in running.ports))
    return time.monotonic() - began


async def _until_gone(client: httpx.AsyncClient, port: int, older: set[str]) -> None:
    async with within(PATIENCE, f"the issuer at port {port} to serve no key that was revoked"):
        while not older.isdisjoint(await _served(client, port)):  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(LOOK_EVERY)


async def _served(client: httpx.AsyncClient, port: int) -> set[str]:
    return kids(await client.get(f"http://{HOST}:{port}/jwks.json"))
