"""Measures logins and refreshes a second beside node oidc-provider, and what users' load takes from client tokens."""

import argparse
import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from bench import wrk
from bench.benchmark import Benchmark, Figures, run_on_loop
from bench.cluster_setup import log_directory
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.runs import medians, spread
from bench.token_peers import install_oidc_provider
from bench.user_load import CONNECTIONS, run_closed
from bench.user_servers import RSA_BITS, Cores, SessionServer, Setup, UserServer
from bench.users_beside_tokens import BesideTokens, Rates
from bench.users_within_capacity import WithinCapacity

_ALGORITHMS: Final = ("RS256", "ES256")
"""Of ID tokens. RS256 is what the operator makes; with ES256 the other work of a login shows."""
_LOADS: Final = {"login": "logins", "refresh": "refreshes", "rotation": "refreshes with rotation"}
_PARTS: Final = ("peer", "capacity", "tokens")
"""Scopewright beside the peer, client tokens and users within the capacity of the server, and far above it."""
_WARM_UP_SECONDS: Final = 1.0


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--user-workers", type=count, default=1, metavar="N", help="workers of each server [%(default)s]"
    )
    options.add_argument("--user-rounds", type=count, default=5, metavar="N", help="runs of each server [%(default)s]")
    options.add_argument("--user-seconds", type=count, default=3, metavar="N", help="seconds of each run [%(default)s]")
    options.add_argument("--no-user-peer", action="store_true", help="do not run node oidc-provider")
    options.add_argument("--login-rate", type=count, default=100, metavar="N", help="beside tokens [%(default)s]")
    options.add_argument("--refresh-rate", type=count, default=500, metavar="N", help="beside tokens [%(default)s]")
    options.add_argument("--users-part", choices=_PARTS, help="measure only one part")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    wrk.check()
    allowed = os.sched_getaffinity(0)
    try:
        with log_directory(options.logs) as folder:
            if not options.no_user_peer and "peer" in _chosen(options):
                with display.step("installing node oidc-provider"):
                    install_oidc_provider(folder)
            return run_on_loop(_run(options, display, folder))
    finally:
        os.sched_setaffinity(0, allowed)


async def _run(options: argparse.Namespace, display: ProgressDisplay, folder: Path) -> Figures:
    cores = Cores.of_machine(options.user_workers)
    if cores.others is not None:
        os.sched_setaffinity(0, {cores.others})
    store = SessionServer(folder, cores)
    try:
        async with _hanging_provider() as provider:
            setup = Setup(folder, options.user_workers, cores, store, provider)
            figures: Figures = {
                "workers": options.user_workers,
                "pinned": cores.servers is not None,
                "connections": CONNECTIONS,
                "rounds": options.user_rounds,
                "seconds": options.user_seconds,
                "rsa_bits": RSA_BITS,
            }
            if "peer" in _chosen(options):
                figures |= await _BesidePeer(options, display, setup).run()
            if "capacity" in _chosen(options):
                within = WithinCapacity(setup, options.user_rounds, options.user_seconds, display)
                figures["within_capacity"] = await within.run()
            if "tokens" in _chosen(options):
                rates = Rates(options.login_rate, options.refresh_rate)
                beside = BesideTokens(setup, rates, options.user_rounds, options.user_seconds, display)
                figures["beside_tokens"] = await beside.run()
            return figures
    finally:
        await asyncio.to_thread(store.kill)


def _chosen(options: argparse.Namespace) -> tuple[str, ...]:
    return (options.users_part,) if options.users_part else _PARTS


@contextlib.asynccontextmanager
async def _hanging_provider() -> AsyncIterator[str]:
    """The URL of a server that accepts connections and never answers."""

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class _BesidePeer:
    def __init__(self, options: argparse.Namespace, display: ProgressDisplay, setup: Setup) -> None:
        self._options = options
        self._display = display
        self._setup = setup
        self._servers: list[UserServer] = []

    async def run(self) -> Figures:
        try:
            with self._display.step("waiting until the servers are ready"):
                await self._start()
            rounds = self._options.user_rounds
            with self._display.step(f"{rounds} rounds of logins and refreshes", rounds) as done:
                for server in self._servers:
                    for load in _LOADS:
                        await self._measure(server, load, _WARM_UP_SECONDS)
                for n in range(rounds):
                    for load in _LOADS:
                        for server in self._servers:
                            figures = await self._measure(server, load, self._options.user_seconds)
                            server.runs.setdefault(load, []).append(figures)
                    done(n + 1)
            return self._figures()
        finally:
            for server in self._servers:
                await asyncio.to_thread(server.stop)

    async def _start(self) -> None:
        for algorithm in _ALGORITHMS:
            self._servers.append(self._setup.scopewright(algorithm))
            if not self._options.no_user_peer:
                self._servers.append(self._setup.oidc_provider(algorithm))
        self._servers.append(self._setup.scopewright(_ALGORITHMS[0], sqlite=True))
        for server in self._servers:
            await server.wait_until_ready()
            await server.users.prepare()

    async def _measure(self, server: UserServer, load: str, seconds: float) -> dict[str, float]:
        users = server.users
        step = {"login": users.log_in, "refresh": users.refresh, "rotation": users.rotate}[load]
        used, redis, own = server.cpu(), self._setup.store.cpu(), time.process_time()
        result = await run_closed(users.connections, step, seconds)
        return {
            "per_second": round(result.per_second, 1),
            "p50_ms": result.p50_ms,
            "p99_ms": result.p99_ms,
            "cpu_ms": round((server.cpu() - used) / result.done * 1000, 3),
            "redis_cpu_ms": round((self._setup.store.cpu() - redis) / result.done * 1000, 3),
            "load_cpu_ms": round((time.process_time() - own) / result.done * 1000, 3),
        }

    def _figures(self) -> Figures:
        by_name = {server.name: server for server in self._servers}
        ratios = {
            f"{load}_{algorithm.lower()}": _ratio(
                by_name[f"scopewright-{algorithm.lower()}"], by_name[f"oidc-provider-{algorithm.lower()}"], load
            )
            for algorithm in _ALGORITHMS
            for load in _LOADS
            if f"oidc-provider-{algorithm.lower()}" in by_name
        }
        servers = {
            server.name: {"about": server.about}
            | {load: {**medians(runs), "runs": runs} for load, runs in server.runs.items()}
            for server in self._servers
        }
        return {"ratios": ratios, "servers": servers}


def _ratio(ours: UserServer, peer: UserServer, load: str) -> dict[str, dict[str, float]]:
    """How many times as fast as the peer, of the runs of each round: by the clock, and by CPU time."""
    pairs = list(zip(ours.runs[load], peer.runs[load], strict=True))
    return {
        "per_second": spread([our["per_second"] / theirs["per_second"] for our, theirs in pairs]),
        "cpu": spread([theirs["cpu_ms"] / our["cpu_ms"] for our, theirs in pairs]),
    }


def table(figures: Figures) -> Table:
    shown = Table(title=f"users: {figures['workers']} workers, {figures['rounds']} × {figures['seconds']} s, medians")
    shown.add_column("", no_wrap=True)
    for heading in ("a second", "p50 ms", "p99 ms", "CPU ms", "Redis ms", "ratio"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for load, about in _LOADS.items():
        for name, server in figures.get("servers", {}).items():
            shown.add_row(f"{about}: {server['about']}", *_row(server[load]), _shown_ratio(figures, name, load))
    within = figures.get("within_capacity", {"states": {}})
    for name, state in within["states"].items():
        for load in ("tokens", "logins", "refreshes"):
            if f"{load}_per_second" in state:
                values = state[f"{load}_per_second"], state[f"{load}_p50_ms"], state[f"{load}_p99_ms"]
                shown.add_row(f"{load} at {within['rates'][load]:,.0f} a second, {name}", *_shown(values), "", "", "")
    for name, state in figures.get("beside_tokens", {}).get("states", {}).items():
        ratio = f"{state['ratio']['median']:.2f} ({state['ratio']['min']:.2f}–{state['ratio']['max']:.2f})"
        values = state["per_second"], state["p50_ms"], state["p99_ms"]
        shown.add_row(f"client tokens in overload, {name}", *_shown(values), "", "", ratio)
    return shown


def _shown(values: tuple[float, float, float]) -> list[str]:
    per_second, p50_ms, p99_ms = values
    return [f"{per_second:,.0f}", f"{p50_ms:.2f}", f"{p99_ms:.2f}"]


def _row(load: dict[str, Any]) -> list[str]:
    values = f"{load['per_second']:,.0f}", f"{load['p50_ms']:.1f}", f"{load['p99_ms']:.1f}"
    return [*values, f"{load['cpu_ms']:.2f}", f"{load['redis_cpu_ms']:.2f}"]


def _shown_ratio(figures: Figures, server: str, load: str) -> str:
    ours, _, algorithm = server.partition("-")
    ratio = figures["ratios"].get(f"{load}_{algorithm}") if ours == "scopewright" else None
    if ratio is None:
        return ""
    found = ratio["per_second"]
    return f"{found['median']:.2f} ({found['min']:.2f}–{found['max']:.2f})"


BENCHMARK: Final = Benchmark(
    name="users",
    about="logins and refreshes a second beside node oidc-provider, and client tokens beside users",
    add_options=add_options,
    run=run,
    table=table,
)
