"""Stops the issuer under load through nginx and Envoy, while keys and credentials rotate, and counts every failure."""

import argparse
import asyncio
import time
import uuid
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench.benchmark import Benchmark, BenchmarkError, Figures, run_on_loop
from bench.cluster_setup import log_directory, open_bench_cluster
from bench.gateway_outage_load import OutageCounts, OutageLoad
from bench.gateway_outage_setup import PROXIES, GatewayWorkload, OutageSetup, periods, set_up
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.rotation_setup import in_background
from bench.timeouts import TIMEOUT_SECONDS, time_limit
from bench.workload import in_namespaces
from scopewright.stores.kubernetes.connect import connect

CLIENTS: Final = 20
MAX_OUTAGE_SECONDS: Final = 500
"""A token that its client is about to renew is valid for longer, and no client has a reason to fail."""
CREDENTIAL_RATE: Final = 0.5
"""Rotations of credentials a second: each client's at most twice within an overlap."""
_MAX_SETTLE_SECONDS: Final = 10.0
"""Of load after the last event; less if keys are fetched more often."""
BEFORE, WITHOUT, AFTER = "before", "without issuer", "after"


def add_options(options: argparse._ArgumentGroup) -> None:
    options.description = "--gateway-workers is that of gateway, --clients of reconcile."
    options.add_argument("--outage-seconds", type=count, default=300, metavar="N", help="without issuer [%(default)s]")
    options.add_argument(
        "--key-fetch-seconds",
        type=count,
        default=30,
        metavar="N",
        help="shortest time between two fetches of keys by the gateway; keys sign later [%(default)s, as in use]",
    )
    options.add_argument(
        "--outage-rate", type=count, default=50, metavar="N", help="requests with a valid token a second [%(default)s]"
    )


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    if options.outage_seconds > MAX_OUTAGE_SECONDS:
        raise BenchmarkError(
            f"--outage-seconds {options.outage_seconds}: at most {MAX_OUTAGE_SECONDS}, then tokens expire"
        )
    fetch: int = options.key_fetch_seconds
    clients = options.clients[-1] if options.clients else CLIENTS
    workload = GatewayWorkload(f"bench-{uuid.uuid4().hex[:8]}", clients + 1, periods(fetch), fetch)
    with open_bench_cluster(display) as cluster, log_directory(options.logs, "gateway-outage") as logs:
        return run_on_loop(_OutageRun(options, display, workload).run(cluster.kubeconfig, logs))


class _OutageRun:
    def __init__(self, options: argparse.Namespace, display: ProgressDisplay, workload: GatewayWorkload) -> None:
        self._options = options
        self._display = display
        self._workload = workload
        self._counts = OutageCounts()
        self._seconds: dict[str, float] = {}
        self._phase_started = 0.0

    async def run(self, kubeconfig: Path, logs: Path) -> Figures:
        workload, workers = self._workload, self._options.gateway_workers
        api = await connect(kubeconfig)
        try:
            async with (
                in_namespaces(api, workload),
                set_up(workload, api, kubeconfig, logs, workers, self._display) as setup,
            ):
                await self._on(setup)
                return self._figures(setup)
        finally:
            await api.close()

    async def _on(self, setup: OutageSetup) -> None:
        load = OutageLoad(setup, self._counts)
        try:
            with self._display.step("a token for each client; one token is revoked"):
                await load.warm_up()
                self._revoked_seconds = await load.revoke()
            self._first_keys = len(self._counts.kids)
            await self._under_load(setup, load)
        finally:
            await load.close()

    async def _under_load(self, setup: OutageSetup, load: OutageLoad) -> None:
        self._begin(BEFORE)
        async with in_background(
            load.run(self._options.outage_rate),
            load.ask_with_revoked(),
            load.start_clients(),
            setup.rotator.credentials(CREDENTIAL_RATE),
        ) as failed:
            with self._display.step("a key rotates"):
                await setup.rotate_key()
                await self._until_keys(self._first_keys + 1, setup, failed)
            with self._display.step(f"{self._options.outage_seconds} s without issuer; a key rotates"):
                async with load.issuers:
                    self._begin(WITHOUT)
                    await setup.kill_issuers()
                    await setup.rotate_key()
                    await self._wait(self._options.outage_seconds, setup, failed)
                    await setup.start_issuers()
                self._begin(AFTER)
            with self._display.step("the issuer is back: waiting until the last key signs"):
                await self._until_keys(self._first_keys + 2, setup, failed)
                await self._wait(min(self._workload.lead_seconds, _MAX_SETTLE_SECONDS), setup, failed)
        self._begin("")

    def _begin(self, phase: str) -> None:
        now = time.monotonic()
        if self._counts.phase:
            self._seconds[self._counts.phase] = round(now - self._phase_started, 1)
        self._counts.phase, self._phase_started = phase, now

    async def _until_keys(self, number: int, setup: OutageSetup, failed: "asyncio.Future[None]") -> None:
        async with time_limit(self._workload.lead_seconds + TIMEOUT_SECONDS, "the requested key to sign"):
            while len(self._counts.kids) < number:
                await self._wait(0.25, setup, failed)

    async def _wait(self, seconds: float, setup: OutageSetup, failed: "asyncio.Future[None]") -> None:
        """Ends with the exception of the load or of a process that has ended, if any."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.wait([failed], timeout=min(left, 1))
            if failed.done():
                failed.result()
            setup.check()

    def _figures(self, setup: OutageSetup) -> Figures:
        counts = self._counts
        phases = {
            phase: {"seconds": self._seconds[phase], **{proxy: _sent(counts, phase, proxy) for proxy in PROXIES}}
            for phase in (BEFORE, WITHOUT, AFTER)
        }
        of_all = [_sent(counts, phase, proxy) for phase in phases for proxy in PROXIES]
        return {
            "clients": self._workload.clients - 1,
            "workers": self._options.gateway_workers,
            "outage_seconds": self._options.outage_seconds,
            "key_fetch_seconds": self._options.key_fetch_seconds,
            "rate": self._options.outage_rate,
            "key_rotations": len(counts.kids) - self._first_keys,
            "credential_rotations": setup.counts.credential_rotations,
            "client_starts": counts.client_starts,
            "failed_client_starts": counts.failed_starts,
            "revoked_accepted_seconds": round(self._revoked_seconds, 2),
            **{name: sum(sent[name] for sent in of_all) for name in of_all[0]},
            "phases": phases,
            "failures": counts.failures,
        }


def _sent(counts: OutageCounts, phase: str, proxy: str) -> dict[str, Any]:
    sent = counts.sent[phase, proxy]
    return {
        "requests": sent.requests,
        "failed": sent.failed,
        "revoked_refused": sent.revoked_refused,
        "revoked_accepted": sent.revoked_accepted,
    }


def table(figures: Figures) -> Table:
    shown = Table(title=f"{figures['outage_seconds']} s without issuer: {figures['clients']} clients")
    shown.add_column("phase", no_wrap=True)
    shown.add_column("proxy", no_wrap=True)
    for heading in ("seconds", "requests", "failed", "revoked token refused", "accepted"):
        shown.add_column(heading, justify="right")
    for name, phase in figures["phases"].items():
        for proxy in PROXIES:
            shown.add_row(name, proxy, f"{phase['seconds']:.0f}", *(f"{value:,}" for value in phase[proxy].values()))
    shown.caption = (
        f"rotated: {figures['key_rotations']} keys, {figures['credential_rotations']:,} credentials; "
        f"clients started: {figures['client_starts']:,}, without a token: {figures['failed_client_starts']}; "
        f"the revoked token was accepted for another {figures['revoked_accepted_seconds']:.1f} s"
    )
    return shown


BENCHMARK: Final = Benchmark(
    name="gateway-outage",
    about="stop the issuer under load through nginx and Envoy, rotate keys and credentials; count failures",
    add_options=add_options,
    run=run,
    table=table,
)
