"""Measures tokens a second, latency, CPU and memory, in turns with floors, oidc-provider and the bare signature."""

import argparse
import asyncio
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.table import Table

from bench import wrk
from bench.benchmark import Benchmark, BenchmarkError, Figures, run_on_loop
from bench.cluster_setup import log_directory
from bench.floors import start_floor
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.runs import medians
from bench.signing import bare_signature, signing_limit
from bench.token_cases import CASES, MANY, Case
from bench.token_peers import (
    GO_OAUTH2,
    OIDC_PROVIDER,
    install_oidc_provider,
    require_es256,
    start_go_oauth2,
    start_oidc_provider,
)
from bench.token_plot import draw
from bench.token_servers import TokenServer, start_issuer

TRANSPORT: Final = "fixed"
"""The floor of every server: the requests are read and answered."""
_WARM_UP_SECONDS: Final = 1.0
_WARM_UP_ROUNDS: Final = 4
"""Requests of each client while a server warms up. Two workers share them."""
_WARM_UP_RUNS: Final = 2
"""At most, for each second of a run: on a busy machine it ends earlier."""
_SIGNATURE_SECONDS: Final = 0.5
"""Duration of the measurement of the bare signature before each run."""
_SIGNING_LIMIT_SECONDS: Final = 1.0
_MAX_ATTEMPTS: Final = 5
"""Each attempt prepares twice as many requests as the fastest run so far has sent."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.description = "--clients is that of reconcile. Default: 10,000."
    options.add_argument("--workers", type=count, default=2, metavar="N", help="workers of each server [%(default)s]")
    options.add_argument("--rounds", type=count, default=5, metavar="N", help="runs of each server [%(default)s]")
    options.add_argument("--seconds", type=count, default=5, metavar="N", help="seconds of each run [%(default)s]")
    options.add_argument("--case", action="append", choices=CASES, help="run only these cases, and the first one")
    options.add_argument("--no-floor", action="store_true", help="do not run the floors")
    options.add_argument("--no-peer", action="store_true", help="do not run oidc-provider and go-oauth2")
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures (PNG)")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    wrk.check()
    with log_directory(options.logs) as folder:
        figures = run_on_loop(_run(_Measurement(options, display, folder)))
    if options.plot:
        draw(options.plot, figures)
    return figures


async def _run(measurement: "_Measurement") -> Figures:
    try:
        return await measurement.run()
    finally:
        await measurement.stop()


class _Measurement:
    def __init__(self, options: argparse.Namespace, display: ProgressDisplay, folder: Path) -> None:
        self._options = options
        self._display = display
        self._folder = folder
        self._servers: list[TokenServer] = []
        self._floors: dict[str, TokenServer] = {}
        """They are among the servers too, each after the first server that it is compared with."""
        self._limits: list[float] = []

    async def run(self) -> Figures:
        await self._start()
        options, rounds = self._options, self._options.rounds
        with self._display.step(f"{rounds} rounds of {options.seconds} s each", rounds) as done:
            for server in self._servers:
                await self._warm_up(server)
            for n in range(rounds):
                self._limits.append(await signing_limit(options.workers, _SIGNING_LIMIT_SECONDS))
                for server in self._servers:
                    server.runs.append(await self._measure(server))
                done(n + 1)
        return self._figures()

    async def _start(self) -> None:
        options = self._options
        clients = options.clients[-1] if options.clients else MANY
        first, *others = (case.with_clients(clients) for case in CASES.values())
        cases = [first, *(case for case in others if not options.case or case.name in options.case)]
        with self._display.step("waiting until the servers are ready"):
            for case in cases:
                self._servers.append(start_issuer(case, options.workers, self._folder))
                await self._servers[-1].wait_until_ready()
                if not options.no_floor:
                    await self._start_floors(case, self._servers[-1])
            if not options.no_peer:
                await asyncio.to_thread(install_oidc_provider, self._folder)
                for n, start in enumerate((start_oidc_provider, start_go_oauth2), 1):
                    peer = await asyncio.to_thread(start, self._servers[0], first, options.workers, self._folder)
                    self._servers.insert(n, peer)
                    await peer.wait_until_ready()
                    await asyncio.to_thread(require_es256, peer, first)

    async def _start_floors(self, case: Case, server: TokenServer) -> None:
        for floor in (TRANSPORT, case.floor):
            if floor not in self._floors:
                started = await asyncio.to_thread(start_floor, floor, server, self._options.workers, self._folder)
                self._floors[floor] = started
                self._servers.append(started)
                await started.wait_until_ready()

    async def stop(self) -> None:
        for server in self._servers:
            await asyncio.to_thread(server.stop)

    async def _warm_up(self, server: TokenServer) -> None:
        """Send requests until every worker has most likely seen every client.

        The first request of a client takes three times as long as the next ones.
        """
        left = _WARM_UP_ROUNDS * server.clients
        for _ in range(_WARM_UP_RUNS * self._options.seconds):
            await server.prepare(_WARM_UP_SECONDS)
            left -= (await server.run_load(_WARM_UP_SECONDS)).requests
            if left <= 0:
                break

    async def _measure(self, server: TokenServer) -> dict[str, float]:
        for _ in range(_MAX_ATTEMPTS):
            await server.prepare(self._options.seconds)
            signature = bare_signature(_SIGNATURE_SECONDS)
            before = server.cpu()
            load = await server.run_load(self._options.seconds)
            if not load.exhausted:
                break
        else:
            raise BenchmarkError(f"{server.name}: the prepared requests ran out, {_MAX_ATTEMPTS} times")
        cpu = (server.cpu() - before) / load.requests
        return {
            "per_second": round(load.per_second, 1),
            "p50_ms": load.p50_ms,
            "p99_ms": load.p99_ms,
            "cpu_us": round(cpu * 1e6, 2),
            "signature_us": round(signature * 1e6, 2),
            "cpu_over_signature": round(cpu / signature, 3),
        }

    def _figures(self) -> Figures:
        floors = list(self._floors.values())
        cases = {server.name: self._case(server) for server in self._servers if server not in floors}
        issuer, peer, compiled = cases[self._servers[0].name], cases.get("oidc-provider"), cases.get(GO_OAUTH2)
        return {
            "workers": self._options.workers,
            "clients": self._servers[0].clients,
            "connections": wrk.CONNECTIONS,
            "rounds": self._options.rounds,
            "seconds": self._options.seconds,
            "es256_per_second": issuer["per_second"],
            "p50_ms": issuer["p50_ms"],
            "p99_ms": issuer["p99_ms"],
            "cpu_over_signature": issuer["cpu_over_signature"],
            "oidc_provider_per_second": peer["per_second"] if peer else None,
            "ratio": round(issuer["per_second"] / peer["per_second"], 2) if peer else None,
            "go_oauth2_per_second": compiled["per_second"] if compiled else None,
            "go_oauth2_ratio": round(issuer["per_second"] / compiled["per_second"], 2) if compiled else None,
            "signing_limit_per_second": round(median(self._limits), 1),
            "worker_peak_mb": issuer["peak_mb"],
            "seconds_until_ready": self._servers[0].seconds_until_ready(),
            "cases": cases,
            "floors": {floor: _measured(server) for floor, server in self._floors.items()},
        }

    def _case(self, server: TokenServer) -> dict[str, Any]:
        """With its CPU time over that of its floor in the same round, if there is one."""
        floor = self._floors.get(server.case.floor) if server.case else None
        if floor is None or server.case is None:
            return _measured(server)
        for run, least in zip(server.runs, floor.runs, strict=True):
            run["floor_us"] = least["cpu_us"]
            run["cpu_over_floor"] = round(run["cpu_us"] / least["cpu_us"], 3)
        return {"floor": server.case.floor, **_measured(server)}


def _measured(server: TokenServer) -> dict[str, Any]:
    """Medians, and the figures of each run."""
    about = {"about": server.about, "is_issuer": server.case is not None}
    return {**about, **medians(server.runs), "peak_mb": server.peak_mb(), "runs": server.runs}


def table(figures: Figures) -> Table:
    shown = Table(
        title=f"tokens: {figures['workers']} processes, {figures['connections']} connections, "
        f"medians of {figures['rounds']} × {figures['seconds']} s"
    )
    shown.add_column("case", no_wrap=True)
    for heading in ("a second", "p50 ms", "p99 ms", "CPU µs", "floor µs", "÷ floor", "signatures", "MB"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for case in (*figures["cases"].values(), *figures["floors"].values()):
        shown.add_row(
            case["about"],
            f"{case['per_second']:,.0f}",
            f"{case['p50_ms']:.2f}",
            f"{case['p99_ms']:.2f}",
            f"{case['cpu_us']:.1f}",
            f"{case['floor_us']:.1f}" if "floor_us" in case else "",
            f"{case['cpu_over_floor']:.2f}" if "cpu_over_floor" in case else "",
            f"{case['cpu_over_signature']:.2f}",
            f"{case['peak_mb']:.0f}",
        )
    shown.add_row("bare ES256 signatures", f"{figures['signing_limit_per_second']:,.0f}", *[""] * 7)
    if figures["ratio"]:
        shown.caption = (
            f"{figures['ratio']:.1f} times {OIDC_PROVIDER}, {figures['go_oauth2_ratio']:.2f} times {GO_OAUTH2}"
        )
    return shown


BENCHMARK: Final = Benchmark(
    name="tokens",
    about="tokens a second, latency, CPU and memory, beside node oidc-provider",
    add_options=add_options,
    run=run,
    table=table,
)
