"""Measures decisions of the gateway, in turns with oauth2-proxy and with nginx that allows every request."""

import argparse
import asyncio
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import wrk
from bench.benchmark import Benchmark, BenchmarkError, Figures, run_on_loop
from bench.cluster_setup import log_directory
from bench.gateway_servers import (
    OAUTH2_PROXY,
    DecisionServer,
    require_different,
    start_gateway,
    start_nginx_204,
    start_oauth2_proxy,
)
from bench.gateway_setup import GatewayIssuer
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.runs import medians

MANY: Final = 10_000
_LOADS: Final = {"one": "1 token", "many": f"{MANY:,} tokens", "new": "new tokens"}
_WARM_UP_SECONDS: Final = 5.0
_NEW_SECONDS: Final = 1.0
"""Of a run with new tokens, each of which is sent once."""
_MAX_WARM_UPS: Final = 12
_SETTLED: Final = 0.95
"""Of the CPU time that a request took in the warm-up before."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument("--gateway-workers", type=count, default=2, metavar="N", help="workers of each [%(default)s]")
    options.add_argument("--gateway-rounds", type=count, default=5, metavar="N", help="runs of each [%(default)s]")
    options.add_argument("--gateway-seconds", type=count, default=5, metavar="N", help="of each run [%(default)s]")
    options.add_argument("--new-tokens", type=count, default=12_000, metavar="N", help="of each run [%(default)s]")
    options.add_argument("--no-oauth2-proxy", action="store_true", help="do not run oauth2-proxy")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    wrk.check()
    with log_directory(options.logs, "gateway") as folder:
        issuer = GatewayIssuer(folder)
        measurement = _Measurement(options, display, folder, issuer)
        try:
            return run_on_loop(measurement.run())
        finally:
            measurement.stop()


class _Measurement:
    def __init__(
        self, options: argparse.Namespace, display: ProgressDisplay, folder: Path, issuer: GatewayIssuer
    ) -> None:
        self._options = options
        self._display = display
        self._folder = folder
        self._issuer = issuer
        self._servers: list[DecisionServer] = []

    async def run(self) -> Figures:
        await self._start()
        with self._display.step(f"{MANY:,} tokens are issued"):
            tokens = require_different(await self._issuer.tokens(MANY))
        rounds = self._options.gateway_rounds
        with self._display.step(f"{rounds} rounds of {self._options.gateway_seconds} s each", rounds) as done:
            for n in range(rounds):
                await self._round(tokens)
                done(n + 1)
        return self._figures()

    def stop(self) -> None:
        for server in (*self._servers, self._issuer.server):
            server.child.stop()

    async def _start(self) -> None:
        options = self._options
        with self._display.step("waiting until the servers are ready"):
            await self._issuer.server.wait_until_ready()
            self._servers = [
                start_gateway(self._issuer.source, options.gateway_workers, self._folder),
                start_nginx_204(options.gateway_workers, self._folder),
            ]
            if not options.no_oauth2_proxy:
                peer = await asyncio.to_thread(start_oauth2_proxy, self._issuer, options.gateway_workers, self._folder)
                self._servers.append(peer)
            for server in self._servers:
                await server.wait_until_ready()

    async def _round(self, tokens: list[str]) -> None:
        """Each server with each load, one after the other. The tokens of the third load are new in every round."""
        new = require_different(await self._issuer.tokens(self._options.new_tokens))
        for name, sent in (("one", tokens[:1]), ("many", tokens), ("new", new)):
            for server in (s for s in self._servers if s.reads_tokens or name != "new"):
                file = self._folder / f"{server.name}-{name}.requests"
                wrk.write_requests(file, server.requests(sent))
                if name == "many" and name not in server.runs:
                    await self._warm_up(server, file)
                seconds = _NEW_SECONDS if name == "new" else self._options.gateway_seconds
                await server.run_load(name, file, seconds, once=name == "new")

    async def _warm_up(self, server: DecisionServer, file: Path) -> None:
        """Send the tokens until every worker has seen all of them: then a request costs no less than before."""
        last = float("inf")
        for _ in range(_MAX_WARM_UPS):
            before = server.cpu()
            load = await wrk.run_load(server.port, file, _WARM_UP_SECONDS)
            cost = (server.cpu() - before) / load.requests
            if cost > last * _SETTLED:
                return
            last = cost
        raise BenchmarkError(f"{server.name}: requests became cheaper for {_MAX_WARM_UPS} runs")

    def _figures(self) -> Figures:
        options = self._options
        servers = {server.name: _figures_of(server) for server in self._servers}
        gateway, peer = servers["gateway"], servers.get(OAUTH2_PROXY)
        ratios = {load: round(gateway[load]["per_second"] / peer[load]["per_second"], 2) for load in _LOADS if peer}
        return {
            "workers": options.gateway_workers,
            "connections": wrk.CONNECTIONS,
            "rounds": options.gateway_rounds,
            "seconds": options.gateway_seconds,
            "ratios_to_oauth2_proxy": ratios or None,
            "servers": servers,
        }


def _figures_of(server: DecisionServer) -> dict[str, Any]:
    loads = {load: {**medians(runs), "runs": runs} for load, runs in server.runs.items()}
    return {"about": server.about, "peak_mb": server.peak_mb(), **loads}


def table(figures: Figures) -> Table:
    shown = Table(
        title=f"decisions: {figures['workers']} processes, {figures['connections']} connections, "
        f"medians of {figures['rounds']} × {figures['seconds']} s"
    )
    shown.add_column("server", no_wrap=True)
    shown.add_column("load", no_wrap=True)
    for heading in ("a second", "p50 ms", "p99 ms", "CPU µs"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for server in figures["servers"].values():
        for load, about in _LOADS.items():
            if (run := server.get(load)) is None:
                continue
            shown.add_row(
                server["about"],
                about,
                f"{run['per_second']:,.0f}",
                f"{run['p50_ms']:.2f}",
                f"{run['p99_ms']:.2f}",
                f"{run['cpu_us']:.1f}",
            )
    if ratios := figures["ratios_to_oauth2_proxy"]:
        shown.caption = ", ".join(f"{about}: {ratios[load]:.1f}" for load, about in _LOADS.items())
        shown.caption = f"times {OAUTH2_PROXY}: {shown.caption}"
    return shown


BENCHMARK: Final = Benchmark(
    name="gateway",
    about="decisions of the gateway a second and their latency, beside oauth2-proxy",
    add_options=add_options,
    run=run,
    table=table,
)
