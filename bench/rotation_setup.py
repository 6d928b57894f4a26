"""Setup of `rotation` and `takeover`: issuers, operators, clients with mounted Secrets, load, and verifiers."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.benchmark import BenchmarkError
from bench.concurrency import for_each
from bench.counts import Counts
from bench.jwks_lag import SecretWatcher, poll_jwks, sample_loop_delay
from bench.key_rotation_run import RotationWorkload
from bench.kubelet_mounts import KubeletMounts
from bench.loopback_transport import LoopbackTransport
from bench.progress_display import ProgressDisplay
from bench.replicas import Replicas, replicas
from bench.token_load import TokenClients, VerifierPool
from bench.workload import create
from scopewright.stores.kubernetes.api import Api

MAX_MOUNT_DELAY_SECONDS: Final = 5.0
ORDINARY_VERIFIERS: Final = 4
TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class RotationSetup:
    running: Replicas
    secrets: SecretWatcher
    verifiers: VerifierPool
    callers: TokenClients


@dataclass(frozen=True, slots=True)
class RunSettings:
    """`seed` determines every random choice; `token_rate` is in requests a second."""

    workload: RotationWorkload
    operators: int
    token_rate: float
    seed: int

    def random(self, purpose: str) -> Random:
        """A generator for one purpose, independent of how often the others are used."""
        return Random(f"{self.seed} {purpose}")


@asynccontextmanager
async def set_up(
    settings: RunSettings, api: Api, kubeconfig: Path, logs: Path, counts: Counts, display: ProgressDisplay
) -> AsyncIterator[RotationSetup]:
    """Start everything; yields once every client has its mount and a token, with the counters reset."""
    workload = settings.workload
    async with AsyncExitStack() as leaving:
        with display.step("waiting until operators and issuers are ready"):
            await create(api, workload.signing_key())
            starting = replicas(kubeconfig, workload, workload.periods.settings, logs, operators=settings.operators)
            running = await leaving.enter_async_context(starting)
        mounts = KubeletMounts(logs / "mounts", MAX_MOUNT_DELAY_SECONDS, settings.random("mounts"), counts)
        secrets = SecretWatcher(api, workload, running.ports, mounts, counts)
        leaving.push_async_callback(secrets.finish)
        leaving.push_async_callback(mounts.close)
        await leaving.enter_async_context(
            in_background(secrets.run(), poll_jwks(running.ports, counts), sample_loop_delay(counts))
        )
        await apply(api, workload, mounts, display)
        connections = LoopbackTransport()
        verifiers = VerifierPool(
            running.url,
            workload.audience,
            connections,
            running.ports,
            counts,
            settings.random("verifiers"),
            ordinary=ORDINARY_VERIFIERS,
            slow_max_age=workload.periods.publish_ahead,
        )
        callers = TokenClients(mounts.mounted, connections, running.ports, verifiers, counts, settings.token_rate)
        with display.step("a token for each client"):
            await callers.warm_up(TIMEOUT_SECONDS)
        counts.reset()
        yield RotationSetup(running, secrets, verifiers, callers)


async def apply(api: Api, workload: RotationWorkload, mounts: KubeletMounts, display: ProgressDisplay) -> None:
    """Create APIs, grants and clients; returns once every client has its mount."""
    n = workload.clients

    async def apply_one(manifest: dict[str, Any]) -> None:
        await create(api, manifest)

    with display.step(f"{n:,} clients: waiting until each has its mount", n) as done:
        await for_each(workload.apis(), apply_one, concurrency=1, done=lambda _: None)
        await for_each(workload.oauth_clients(), apply_one, concurrency=16, done=lambda _: None)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while len(mounts.mounted) < n:
            done(len(mounts.mounted))
            await asyncio.sleep(0.1)
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{len(mounts.mounted)} of {n} Secrets were mounted after {TIMEOUT_SECONDS:.0f} s")


@asynccontextmanager
async def in_background(*coroutines: Coroutine[Any, Any, None]) -> "AsyncIterator[asyncio.Future[None]]":
    """Run the coroutines until the block ends. The future gets the exception of the first that fails."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def record_failure(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
            failed.set_exception(error)

    for task in tasks:
        task.add_done_callback(record_failure)
    try:
        yield failed
        if failed.done():
            failed.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        failed.cancel()
