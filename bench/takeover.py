"""Measures how long another operator takes to replace a lost leader under load, and runs rolling upgrades.

A leader is lost by SIGKILL, by SIGSTOP with a later SIGCONT, or by SIGTERM. In place of a Service, a request that a
replica does not answer goes to the other one (`bench.failover`).
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

from bench.benchmark import Benchmark, BenchmarkError, Figures, run_on_loop
from bench.cluster_setup import log_directory, open_bench_cluster
from bench.counts import Counts
from bench.key_rotation_run import Periods, RotationWorkload, Rotator
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.replicas import Replica, Replicas
from bench.rotation_setup import RotationSetup, RunSettings, in_background, set_up
from bench.workload import in_namespaces
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.connect import connect

CLIENTS: Final = 20
TOKEN_RATE: Final = 100
POLL_INTERVAL_SECONDS: Final = 0.05
TIMEOUT_SECONDS: Final = 60.0
RESUMED_SECONDS: Final = 3.0
"""Time in which a resumed leader could still complete a pending write."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--times",
        type=count,
        default=5,
        metavar="N",
        help="losses of a leader by each signal, and rolling upgrades [%(default)s]",
    )


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    clients = options.clients[-1] if options.clients else CLIENTS
    periods = Periods(publish_ahead=5, jwks_max_age=1, replica_lag=2, overlap=15, token_lifetime=options.token_lifetime)
    workload = RotationWorkload(f"bench-{uuid.uuid4().hex[:8]}", clients, periods)
    settings = RunSettings(workload, operators=2, token_rate=TOKEN_RATE, seed=entropy.randbelow(1_000_000))
    with open_bench_cluster(display) as cluster, log_directory(options.logs) as logs:
        return run_on_loop(_run(settings, options.times, display, cluster.kubeconfig, logs))


async def _run(settings: RunSettings, times: int, display: ProgressDisplay, kubeconfig: Path, logs: Path) -> Figures:
    api, counts = await connect(kubeconfig), Counts()
    try:
        async with (
            in_namespaces(api, settings.workload),
            set_up(settings, api, kubeconfig, logs, counts, display) as setup,
        ):
            return await _TakeoverRun(settings, api, setup, counts, display).run(times)
    finally:
        await api.close()


class _TakeoverRun:
    """`_lost`: by signal, the seconds from the loss of a leader until another has rotated every credential."""

    def __init__(
        self, settings: RunSettings, api: Api, setup: RotationSetup, counts: Counts, display: ProgressDisplay
    ) -> None:
        self._settings = settings
        self._setup = setup
        self._counts = counts
        self._display = display
        self._rotator = Rotator(api, settings.workload, setup.secrets, counts)
        self._manifests = list(settings.workload.oauth_clients())
        self._requested = 0
        self._two_led = 0
        self._lost: dict[str, list[float]] = {"killed": [], "frozen": [], "stopped": []}

    async def run(self, times: int) -> Figures:
        started = time.monotonic()
        verifiers, callers = self._setup.verifiers, self._setup.callers
        async with in_background(verifiers.verify_before_expiry()):
            async with in_background(callers.run(), self._watch_leaders()) as failed:
                losing = asyncio.create_task(self._lose_leaders(times))
                await asyncio.wait([losing, failed], return_when=asyncio.FIRST_COMPLETED)
                if failed.done():
                    losing.cancel()
                await losing
            with self._display.step("waiting until the last tokens expire"):
                await verifiers.finish()
        return self._figures(time.monotonic() - started)

    async def _lose_leaders(self, times: int) -> None:
        running = self._setup.running
        signals = {"killed": Replica.kill, "frozen": Replica.freeze, "stopped": Replica.stop}
        with self._display.step(
            f"leaders: {times} killed, {times} frozen and resumed, {times} stopped", 3 * times
        ) as done:
            for n in range(3 * times):
                how = [*signals][n % 3]
                await self._lose_leader(how, signals[how])
                done(n + 1)
        with self._display.step(f"{times} rolling upgrades", times) as done:
            for n in range(times):
                for replica in (*running.issuers, *running.operators):
                    await replica.stop()
                    await replica.start()
                    await replica.wait_until_ready(running.http)
                await self._request_rotations()
                await self._until_rotated()
                done(n + 1)

    async def _lose_leader(self, how: str, lose: Callable[[Replica], Awaitable[None]]) -> None:
        """Lose the leader during pending rotations; the other operator must do each exactly once."""
        leader = await self._leader()
        requests = asyncio.create_task(self._request_rotations())
        await asyncio.sleep(POLL_INTERVAL_SECONDS)
        started = time.monotonic()
        await lose(leader)
        await requests
        await self._until_rotated()
        self._lost[how].append(time.monotonic() - started)
        if how == "frozen":
            await leader.resume()
            await asyncio.sleep(RESUMED_SECONDS)
        else:
            self._counts.operator_kills += how == "killed"
            await leader.start()

    async def _request_rotations(self) -> None:
        """Request a rotation of each credential, once all previous rotations are complete."""
        await self._until_rotated()
        self._requested += len(self._manifests)
        for manifest in self._manifests:
            await self._rotator.request_rotation(manifest)

    async def _until_rotated(self) -> None:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self._counts.credential_rotations < self._requested:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"credentials not rotated {TIMEOUT_SECONDS:.0f} s after a leader was lost")
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    async def _leader(self) -> Replica:
        """The leader, once every operator is alive and the other one waits for the Lease."""
        for replica in self._setup.running.operators:
            await replica.wait_until_alive(self._setup.running.http)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not (leaders := await self._leaders()):
            if time.monotonic() > deadline:
                raise BenchmarkError(f"no operator became leader within {TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        return leaders[0]

    async def _leaders(self) -> list[Replica]:
        running: Replicas = self._setup.running
        lead = await asyncio.gather(*(replica.leads(running.http) for replica in running.operators))
        return [replica for replica, leads in zip(running.operators, lead, strict=True) if leads]

    async def _watch_leaders(self) -> None:
        """Run forever: count when two operators lead at once.

        The requests are sequential, so two leaders count only if each still reports itself in a second request.
        """
        http = self._setup.running.http
        while True:
            leaders = await self._leaders()
            self._two_led += len(leaders) > 1 and all([await leader.leads(http) for leader in leaders])
            await asyncio.sleep(POLL_INTERVAL_SECONDS)

    def _figures(self, seconds: float) -> Figures:
        counts = self._counts
        return {
            "clients": self._settings.workload.clients,
            "seconds": round(seconds, 1),
            "takeovers": {how: _median_and_max(lost) for how, lost in self._lost.items()},
            "rotations_asked": self._requested,
            "credential_rotations": counts.credential_rotations,
            "two_led": self._two_led,
            "secrets_tried": counts.secrets_tried,
            "secrets_refused": counts.secrets_refused,
            "token_requests": counts.token_requests,
            "failed_token_requests": counts.failed_token_requests,
            "verifications": counts.verifications,
            "refused_valid_tokens": counts.refused_valid_tokens,
            "failures": counts.failures,
        }


def _median_and_max(seconds: list[float]) -> dict[str, Any]:
    return {
        "times": len(seconds),
        "median": round(sorted(seconds)[len(seconds) // 2], 2),
        "most": round(max(seconds), 2),
    }


def table(figures: Figures) -> Table:
    shown = Table(title=f"take-over under load: {figures['clients']} clients, {figures['seconds']:.0f} s")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    for how, seconds in figures["takeovers"].items():
        shown.add_row(
            f"leader {how}: seconds until all credentials are rotated", f"{seconds['median']} … {seconds['most']}"
        )
    for label, name in _LINES:
        shown.add_row(label, f"{figures[name]:,}")
    return shown


_LINES: Final = (
    ("rotations requested", "rotations_asked"),
    ("rotations completed", "credential_rotations"),
    ("samples with two leaders", "two_led"),
    ("new values of Secrets that were refused", "secrets_refused"),
    ("token requests", "token_requests"),
    ("… that failed", "failed_token_requests"),
    ("verifications", "verifications"),
    ("… that refused a valid token", "refused_valid_tokens"),
)


BENCHMARK: Final = Benchmark(
    name="takeover",
    about="lose leaders and upgrade under load; measure the takeover and count failures",
    add_options=add_options,
    run=run,
    table=table,
)
