"""Measures what checks behind nginx and Envoy add to the latency of requests, in turns, and how many requests pass."""

import argparse
import asyncio
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import wrk
from bench.benchmark import Benchmark, Figures, run_on_loop
from bench.cluster_setup import log_directory
from bench.gateway_proxies import GATEWAY, HOP, PEER, WAYS, Proxied, Way, start_proxy
from bench.gateway_servers import (
    DecisionServer,
    require_different,
    start_gateway,
    start_nginx_204,
    start_oauth2_proxy,
    start_service,
)
from bench.gateway_setup import GatewayIssuer
from bench.progress_display import ProgressDisplay
from bench.runs import medians

TOKENS: Final = 1_000
_WARM_UP_SECONDS: Final = 5.0


def add_options(options: argparse._ArgumentGroup) -> None:
    options.description = "Workers, rounds, seconds and --no-oauth2-proxy are those of gateway."
    options.add_argument(
        "--way",
        action="append",
        choices=WAYS,
        help="way of a check to measure, beside its proxy without a check; repeatable. Default: all of them",
    )


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    wrk.check()
    with log_directory(options.logs, "gateway-latency") as folder:
        measurement = _Measurement(options, display, folder)
        try:
            return run_on_loop(measurement.run())
        finally:
            measurement.stop()


def _ways(options: argparse.Namespace) -> list[Way]:
    """Those to measure, each proxy without a check first."""
    chosen = [WAYS[name] for name in options.way or WAYS if not (options.no_oauth2_proxy and WAYS[name].server == PEER)]
    names = {name for way in chosen for name in (way.base, way.name)}
    return [way for way in WAYS.values() if way.name in names]


class _Measurement:
    def __init__(self, options: argparse.Namespace, display: ProgressDisplay, folder: Path) -> None:
        self._options = options
        self._display = display
        self._folder = folder
        self._ways = _ways(options)
        self._issuer = GatewayIssuer(folder)
        self._asked: dict[str, DecisionServer] = {}
        self._proxies: list[Proxied] = []
        self._service = start_service(folder)

    async def run(self) -> Figures:
        with self._display.step("waiting until the servers are ready"):
            await self._start()
        with self._display.step(f"{TOKENS:,} tokens are issued, and every way has seen them"):
            tokens = require_different(await self._issuer.tokens(TOKENS))
            requests = self._folder / "proxied.requests"
            wrk.write_requests(requests, self._proxies[0].requests(tokens))
            for proxy in self._proxies:
                await proxy.measure(requests, min(self._options.gateway_seconds, _WARM_UP_SECONDS), wrk.CONNECTIONS)
        rounds, seconds = self._options.gateway_rounds, self._options.gateway_seconds
        with self._display.step(f"{rounds} rounds of {len(self._proxies)} × 2 × {seconds} s", rounds) as done:
            for n in range(rounds):
                for proxy in self._proxies:
                    proxy.latency.append(await proxy.measure(requests, seconds, 1))
                for proxy in self._proxies:
                    proxy.rate.append(await proxy.measure(requests, seconds, wrk.CONNECTIONS))
                done(n + 1)
        return self._figures()

    def stop(self) -> None:
        for server in (*self._proxies, *self._asked.values(), self._service, self._issuer.server):
            server.child.stop()

    async def _start(self) -> None:
        await self._issuer.server.wait_until_ready()
        await self._service.wait_until_ready()
        for name in dict.fromkeys(way.server for way in self._ways if way.server):
            server = self._asked[name] = await asyncio.to_thread(self._start_asked, name)
            await server.wait_until_ready()
        ports = {"service": self._service.port, "issuer": self._issuer.server.port}
        for way in self._ways:
            asked = self._asked.get(way.server or "")
            proxy = start_proxy(way, ports, self._options.gateway_workers, self._folder, asked)
            self._proxies.append(proxy)
            await proxy.wait_until_ready()
            if way.refuses:
                await asyncio.to_thread(proxy.require_refusal)

    def _start_asked(self, name: str) -> DecisionServer:
        workers, folder = self._options.gateway_workers, self._folder
        match name:
            case _ if name == GATEWAY:
                return start_gateway(self._issuer.source, workers, folder)
            case _ if name == HOP:
                return start_nginx_204(workers, folder)
            case _:
                return start_oauth2_proxy(self._issuer, workers, folder)

    def _figures(self) -> Figures:
        options = self._options
        by_name = {proxy.name: proxy for proxy in self._proxies}
        return {
            "workers": options.gateway_workers,
            "connections": {"latency": 1, "rate": wrk.CONNECTIONS},
            "tokens": TOKENS,
            "rounds": options.gateway_rounds,
            "seconds": options.gateway_seconds,
            "ways": {way.name: _figures_of(by_name[way.name], by_name[way.base]) for way in self._ways},
        }


def _figures_of(proxy: Proxied, base: Proxied) -> dict[str, Any]:
    """What is added is a difference within one round."""
    latency = [
        {**run, **{f"added_{name}": round(run[name] - without[name], 3) for name in ("p50_ms", "p99_ms")}}
        for run, without in zip(proxy.latency, base.latency, strict=True)
    ]
    return {
        "about": proxy.about,
        "latency": {**medians(latency), "runs": latency},
        "rate": {**medians(proxy.rate), "runs": proxy.rate},
    }


def table(figures: Figures) -> Table:
    shown = Table(
        title=f"requests to a service: {figures['workers']} workers of each server, "
        f"medians of {figures['rounds']} × {figures['seconds']} s"
    )
    shown.add_column("check", no_wrap=True)
    for heading in ("p50 ms", "added", "p99 ms", "added", "a second", "CPU µs"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for way in figures["ways"].values():
        latency, rate = way["latency"], way["rate"]
        times = [f"{latency[name]:.2f}" for name in ("p50_ms", "added_p50_ms", "p99_ms", "added_p99_ms")]
        shown.add_row(way["about"], *times, f"{rate['per_second']:,.0f}", f"{rate['cpu_us']:.0f}")
    shown.caption = f"latency with 1 connection, a second and CPU time with {figures['connections']['rate']}"
    return shown


BENCHMARK: Final = Benchmark(
    name="gateway-latency",
    about="latency that checks behind nginx and Envoy add, and the rate, beside oauth2-proxy",
    add_options=add_options,
    run=run,
    table=table,
)
