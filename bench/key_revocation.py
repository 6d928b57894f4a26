"""Time from `revokedBefore` on a SigningKey until no issuer serves an older key."""

import asyncio
import time
from typing import Final

import httpx

from bench.jwks_lag import kids
from bench.key_rotation_run import Rotator
from bench.replicas import HOST, Replicas
from bench.timeouts import TIMEOUT_SECONDS, time_limit, wait_for_next_second

POLL_INTERVAL_SECONDS: Final = 0.01


async def measure_key_revocation(running: Replicas, rotator: Rotator) -> float:
    """Return the seconds. First waits until an operator leads and every issuer is ready."""
    await rotator.keys(0, 1)
    for replica in running.issuers:
        await replica.wait_until_ready(running.http)
    older = {kid for port in running.ports for kid in await _served(running.http, port)}
    # `revokedBefore` has whole seconds: every existing key must be older than that second.
    await rotator.revoke_keys(await wait_for_next_second())
    started = time.monotonic()
    await asyncio.gather(*(_wait_until_removed(running.http, port, older) for port in running.ports))
    return time.monotonic() - started


async def _wait_until_removed(client: httpx.AsyncClient, port: int, older: set[str]) -> None:
    async with time_limit(TIMEOUT_SECONDS, f"the issuer at port {port} to serve no key that was revoked"):
        while not older.isdisjoint(await _served(client, port)):  # noqa: ASYNC110 (another process does it)
            await asyncio.sleep(POLL_INTERVAL_SECONDS)


async def _served(client: httpx.AsyncClient, port: int) -> set[str]:
    return kids(await client.get(f"http://{HOST}:{port}/jwks.json"))
