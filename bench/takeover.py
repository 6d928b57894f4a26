"""One operator takes over from another, under load: killed, frozen and woken, stopped; and a rolling upgrade of all.

In place of a Service, a request that a replica does not answer goes to the other (`bench.failover`).
"""

import argparse
import asyncio
import secrets as entropy
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.benchmark import Benchmark, BenchmarkError, Figures, on_a_loop
from bench.counts import Counts
from bench.ground import a_cluster, a_folder
from bench.options import count
from bench.replicas import Replica, Replicas
from bench.screen import Screen
from bench.stage import Plan, Stage, beside, staged
from bench.turning import Periods, Rotator, Turning
from bench.workload import in_namespaces
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_connect import connect

CLIENTS: Final = 20
TOKEN_RATE: Final = 100
LOOK_EVERY: Final = 0.05
PATIENCE: Final = 60.0
AWAKE: Final = 3.0
"""Seconds in which one that was frozen could still do what it was about to."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--times", type=count, default=5, metavar="N", help="leaders lost, and upgrades, of each kind [%(default)s]"
    )


def run(options: argparse.Namespace, screen: Screen) -> Figures:
    clients = options.clients[-1] if options.clients else CLIENTS
    periods = Periods(publish_ahead=5, jwks_max_age=1, replica_lag=2, overlap=15, token_lifetime=options.token_lifetime)
    workload = Turning(f"bench-{uuid.uuid4().hex[:8]}", clients, periods)
    plan = Plan(workload, operators=2, token_rate=TOKEN_RATE, seed=entropy.randbelow(1_000_000))
    with a_cluster(screen) as cluster, a_folder(options.logs) as logs:
        return on_a_loop(_run(plan, options.times, screen, cluster.kubeconfig, logs))


async def _run(plan: Plan, times: int, screen: Screen, kubeconfig: Path, logs: Path) -> Figures:
    api, counts = await connect(kubeconfig), Counts()
    try:
        async with (
            in_namespaces(api, plan.workload),
            staged(plan, api, kubeconfig, logs, counts, screen) as stage,
        ):
            return await _TakingOver(plan, api, stage, counts, screen).run(times)
    finally:
        await api.close()


class _TakingOver:
    """`lost` are the seconds from the loss of a leader until another one has rotated every credential."""

    def __init__(self, plan: Plan, api: Api, stage: Stage, counts: Counts, screen: Screen) -> None:
        self._plan = plan
        self._stage = stage
        self._counts = counts
        self._screen = screen
        self._rotator = Rotator(api, plan.workload, stage.secrets, counts)
        self._manifests = list(plan.workload.oauth_clients())
        self._asked = 0
        self._two_led = 0
        self._lost: dict[str, list[float]] = {"killed": [], "frozen": [], "stopped": []}

    async def run(self, times: int) -> Figures:
        began = time.monotonic()
        verifiers, callers = self._stage.verifiers, self._stage.callers
        async with beside(verifiers.second()):
            async with beside(callers.run(), self._watch_leaders()) as failed:
                losing = asyncio.create_task(self._lose_leaders(times))
                await asyncio.wait([losing, failed], return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    losing.cancel()
                await losing
            with self._screen.step("the last tokens: until they end"):
                await verifiers.finish()
        return self._figures(time.monotonic() - began)

    async def _lose_leaders(self, times: int) -> None:
        running = self._stage.running
        ways = {"killed": Replica.kill, "frozen": Replica.freeze, "stopped": Replica.stop}
        with self._screen.step(
            f"leaders: {times} killed, {times} frozen and woken, {times} stopped", 3 * times
        ) as done:
            for n in range(3 * times):
                how = [*ways][n % 3]
                await self._lose(how, ways[how])
                done(n + 1)
        with self._screen.step(f"{times} rolling upgrades", times) as done:
            for n in range(times):
                for replica in (*running.issuers, *running.operators):
                    await replica.stop()
                    await replica.start()
                    await replica.until_ready(running.http)
                await self._ask_all()
                await self._until_rotated()
                done(n + 1)

    async def _lose(self, how: str, lose: Callable[[Replica], Awaitable[None]]) -> None:
        """With work in its hands, which another one does: once, and not twice."""
        leader = await self._leader()
        asking = asyncio.create_task(self._ask_all())
        await asyncio.sleep(LOOK_EVERY)
        began = time.monotonic()
        await lose(leader)
        await asking
        await self._until_rotated()
        self._lost[how].append(time.monotonic() - began)
        if how == "frozen":
            await leader.wake()
            await asyncio.sleep(AWAKE)
        else:
            self._counts.operator_kills += how == "killed"
            await leader.start()

    # What shows that somebody leads

    async def _ask_all(self) -> None:
        """Once every client has had what it was promised, for a second request before that would be lost in it."""
        await self._until_rotated()
        self._asked += len(self._manifests)
        for manifest in self._manifests:
            await self._rotator.ask(manifest)

    async def _until_rotated(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self._counts.credential_rotations < self._asked:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"nobody rotated credentials for {PATIENCE:.0f} s after a leader was lost")
            await asyncio.sleep(LOOK_EVERY)

    async def _leader(self) -> Replica:
        """While the other one has read everything, and waits for the Lease."""
        for replica in self._stage.running.operators:
            await replica.until_it_answers(self._stage.running.http)
        deadline = time.monotonic() + PATIENCE
        while not (leaders := await self._leaders()):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"nobody led within {PATIENCE:.0f} s")
            await asyncio.sleep(LOOK_EVERY)
        return leaders[0]

    async def _leaders(self) -> list[Replica]:
        running: Replicas = self._stage.running
        lead = await asyncio.gather(*(replica.leads(running.http) for replica in running.operators))
        return [replica for replica, leads in zip(running.operators, lead, strict=True) if leads]

    async def _watch_leaders(self) -> None:
        """For ever. One answer comes after the other: two lead only where one still does after both have said so."""
        http = self._stage.running.http
        while True:
            leaders = await self._leaders()
            self._two_led += len(leaders) > 1 and all([await leader.leads(http) for leader in leaders])
            await asyncio.sleep(LOOK_EVERY)

    def _figures(self, seconds: float) -> Figures:
        counts = self._counts
        return {
            "clients": self._plan.workload.clients,
            "seconds": round(seconds, 1),
            "takeovers": {how: _spread(lost) for how, lost in self._lost.items()},
            "rotations_asked": self._asked,
            "credential_rotations": counts.credential_rotations,
            "two_led": self._two_led,
            "secrets_tried": counts.secrets_tried,
            "secrets_refused": counts.secrets_refused,
            "token_requests": counts.token_requests,
            "failed_token_requests": counts.failed_token_requests,
            "verifications": counts.verifications,
            "refused_valid_tokens": counts.refused_valid_tokens,
            "failures": counts.told,
        }


def _spread(seconds: list[float]) -> dict[str, Any]:
    return {
        "times": len(seconds),
        "median": round(sorted(seconds)[len(seconds) // 2], 2),
        "most": round(max(seconds), 2),
    }


def table(figures: Figures) -> Table:
    shown = Table(title=f"take-over under load: {figures['clients']} clients, {figures['seconds']:.0f} s")
    shown.add_column("what")
    shown.add_column("how many", justify="right")
    for how, spread in figures["takeovers"].items():
        shown.add_row(
            f"leader {how}: seconds until all credentials are rotated", f"{spread['median']} … {spread['most']}"
        )
    for label, name in _LINES:
        shown.add_row(label, f"{figures[name]:,}")
    return shown


_LINES: Final = (
    ("rotations that were asked for", "rotations_asked"),
    ("rotations that were done", "credential_rotations"),
    ("looks at which two led", "two_led"),
    ("values of Secrets that were refused at once", "secrets_refused"),
    ("token requests", "token_requests"),
    ("… that failed", "failed_token_requests"),
    ("verifications", "verifications"),
    ("… that refused a valid token", "refused_valid_tokens"),
)


BENCHMARK: Final = Benchmark(
    name="takeover",
    about="operators are lost and everything is upgraded under load: how long it takes, and what fails",
    add_options=add_options,
    run=run,
    table=table,
)
