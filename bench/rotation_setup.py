"""What rotation and takeover are measured on: issuers, operators, clients with mounts, their load, and verifiers."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.benchmark import BenchmarkError
from bench.callers import Callers, Verifiers
from bench.counts import Counts
from bench.crowd import spread
from bench.mounts import Mounts
from bench.replicas import Replicas, replicas
from bench.screen import Screen
from bench.seeing import Secrets, look_at_keys, measure_lag
from bench.turning import Turning
from bench.wire import Wire
from bench.workload import create
from scopewright.stores.kube_api import Api

SLOWEST_MOUNT: Final = 5.0
ORDINARY_VERIFIERS: Final = 4
PATIENCE: Final = 120.0


@dataclass(frozen=True, slots=True)
class Stage:
    running: Replicas
    secrets: Secrets
    verifiers: Verifiers
    callers: Callers


@dataclass(frozen=True, slots=True)
class Plan:
    """`seed` is of mounts and verifiers, and of whatever else happens by chance."""

    workload: Turning
    operators: int
    token_rate: float
    seed: int

    def random(self, of: str) -> Random:
        """One for each, so that what one does is not changed by how often another asks."""
        return Random(f"{self.seed} {of}")


@asynccontextmanager
async def staged(
    plan: Plan, api: Api, kubeconfig: Path, logs: Path, counts: Counts, screen: Screen
) -> AsyncIterator[Stage]:
    """Every client has its mount and a token, and nothing is counted yet."""
    workload = plan.workload
    async with AsyncExitStack() as leaving:
        with screen.step("operators and issuers: until they are ready"):
            await create(api, workload.signing_key())
            starting = replicas(kubeconfig, workload, workload.periods.settings, logs, operators=plan.operators)
            running = await leaving.enter_async_context(starting)
        mounts = Mounts(logs / "mounts", SLOWEST_MOUNT, plan.random("mounts"), counts)
        secrets = Secrets(api, workload, running.ports, mounts, counts)
        leaving.push_async_callback(secrets.finish)
        leaving.push_async_callback(mounts.close)
        await leaving.enter_async_context(
            beside(secrets.run(), look_at_keys(running.ports, counts), measure_lag(counts))
        )
        await _apply(api, workload, mounts, screen)
        connections = Wire()
        verifiers = Verifiers(
            running.url,
            workload.audience,
            connections,
            running.ports,
            counts,
            plan.random("verifiers"),
            ordinary=ORDINARY_VERIFIERS,
            slow_max_age=workload.periods.publish_ahead,
        )
        callers = Callers(mounts.there, connections, running.ports, verifiers, counts, plan.token_rate)
        with screen.step("a token for each client"):
            await callers.warm_up(PATIENCE)
        counts.begin()
        yield Stage(running, secrets, verifiers, callers)


async def _apply(api: Api, workload: Turning, mounts: Mounts, screen: Screen) -> None:
    n = workload.clients

    async def apply(manifest: dict[str, Any]) -> None:
        await create(api, manifest)

    with screen.step(f"{n:,} clients: until each has its mount", n) as done:
        await spread(workload.apis(), apply, at_once=1, done=lambda _: None)
        await spread(workload.oauth_clients(), apply, at_once=16, done=lambda _: None)
        deadline = time.monotonic() + PATIENCE
        while len(mounts.there) < n:
            done(len(mounts.there))
            await asyncio.sleep(0.1)
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{len(mounts.there)} of {n} Secrets were there after {PATIENCE:.0f} s")


@asynccontextmanager
async def beside(*things: Coroutine[Any, Any, None]) -> "AsyncIterator[asyncio.Future[None]]":
    """They run until the block is left; the future is done once one of them has failed."""
    tasks = [asyncio.create_task(thing) for thing in things]
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
            failed.set_exception(error)

    for task in tasks:
        task.add_done_callback(look)
    try:
        yield failed
        if failed.done():
            failed.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        failed.cancel()
