"""How many tokens a second, how soon, and at what cost; beside node oidc-provider and the bare signature, in turns."""

import argparse
import asyncio
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.table import Table

from bench import wrk
from bench.benchmark import Benchmark, BenchmarkError, Figures, on_a_loop
from bench.ground import a_folder
from bench.options import count
from bench.screen import Screen
from bench.signing import bare_signature, signing_limit
from bench.token_cases import CASES
from bench.token_plot import draw
from bench.token_servers import OIDC_PROVIDER, Asked, install_oidc_provider, start_issuer, start_oidc_provider

_WARM_UP: Final = 1.0
_SIGNING: Final = 0.5
"""Seconds of bare signatures before each run."""
_LIMIT: Final = 1.0
_TRIES: Final = 5
"""Each prepares twice as many requests as the fastest run so far has used."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument("--workers", type=count, default=2, metavar="N", help="processes of each server [%(default)s]")
    options.add_argument("--rounds", type=count, default=5, metavar="N", help="each is asked so often [%(default)s]")
    options.add_argument("--seconds", type=count, default=5, metavar="N", help="… for so long [%(default)s]")
    options.add_argument("--case", action="append", choices=CASES, help="only these; the first case is always there")
    options.add_argument("--no-peer", action="store_true", help="without node oidc-provider")
    options.add_argument("--plot", type=Path, metavar="FILE", help="draw the figures (PNG)")


def run(options: argparse.Namespace, screen: Screen) -> Figures:
    wrk.check()
    with a_folder(options.logs) as folder:
        figures = on_a_loop(_run(_Measuring(options, screen, folder)))
    if options.plot:
        draw(options.plot, figures)
    return figures


async def _run(measuring: "_Measuring") -> Figures:
    try:
        return await measuring.run()
    finally:
        await measuring.stop()


class _Measuring:
    def __init__(self, options: argparse.Namespace, screen: Screen, folder: Path) -> None:
        self._options = options
        self._screen = screen
        self._folder = folder
        self._asked: list[Asked] = []
        self._limits: list[float] = []

    async def run(self) -> Figures:
        await self._start()
        options, rounds = self._options, self._options.rounds
        with self._screen.step(f"{rounds} rounds of {options.seconds} s each", rounds) as done:
            for asked in self._asked:
                await asked.prepare(_WARM_UP)
                await asked.ask(_WARM_UP)
            for n in range(rounds):
                self._limits.append(await signing_limit(options.workers, _LIMIT))
                for asked in self._asked:
                    asked.runs.append(await self._ask(asked))
                done(n + 1)
        return self._figures()

    async def _start(self) -> None:
        options = self._options
        first = next(iter(CASES.values()))
        cases = [case for case in CASES.values() if not options.case or case is first or case.name in options.case]
        with self._screen.step("the servers: until they are ready"):
            for case in cases:
                self._asked.append(start_issuer(case, options.workers, self._folder))
                await self._asked[-1].until_ready()
            if not options.no_peer:
                await asyncio.to_thread(install_oidc_provider, self._folder)
                self._asked.insert(1, start_oidc_provider(self._asked[0], first, options.workers, self._folder))
                await self._asked[1].until_ready()

    async def stop(self) -> None:
        for asked in self._asked:
            await asyncio.to_thread(asked.stop)

    async def _ask(self, asked: Asked) -> dict[str, float]:
        for _ in range(_TRIES):
            await asked.prepare(self._options.seconds)
            signature = bare_signature(_SIGNING)
            before = asked.cpu()
            seen = await asked.ask(self._options.seconds)
            if not seen.spent:
                break
        else:
            raise BenchmarkError(f"{asked.name}: the prepared requests were used up early, {_TRIES} times")
        cpu = (asked.cpu() - before) / seen.requests
        return {
            "per_second": round(seen.per_second, 1),
            "p50_ms": seen.p50_ms,
            "p99_ms": seen.p99_ms,
            "cpu_us": round(cpu * 1e6, 2),
            "signature_us": round(signature * 1e6, 2),
            "cpu_over_signature": round(cpu / signature, 3),
        }

    def _figures(self) -> Figures:
        cases = {asked.name: _medians(asked) for asked in self._asked}
        ours, peer = cases[self._asked[0].name], cases.get("oidc-provider")
        return {
            "workers": self._options.workers,
            "connections": wrk.CONNECTIONS,
            "rounds": self._options.rounds,
            "seconds": self._options.seconds,
            "es256_per_second": ours["per_second"],
            "p50_ms": ours["p50_ms"],
            "p99_ms": ours["p99_ms"],
            "cpu_over_signature": ours["cpu_over_signature"],
            "oidc_provider_per_second": peer["per_second"] if peer else None,
            "ratio": round(ours["per_second"] / peer["per_second"], 2) if peer else None,
            "signing_limit_per_second": round(median(self._limits), 1),
            "worker_peak_mb": ours["peak_mb"],
            "seconds_until_ready": self._asked[0].seconds_until_ready(),
            "cases": cases,
        }


def _medians(asked: Asked) -> dict[str, Any]:
    middle = {name: round(median(run[name] for run in asked.runs), 3) for name in asked.runs[0]}
    return {"about": asked.about, **middle, "peak_mb": asked.peak_mb(), "runs": asked.runs}


def table(figures: Figures) -> Table:
    shown = Table(
        title=f"tokens: {figures['workers']} processes, {figures['connections']} connections, "
        f"medians of {figures['rounds']} × {figures['seconds']} s"
    )
    shown.add_column("what", no_wrap=True)
    for heading in ("a second", "p50 ms", "p99 ms", "CPU µs", "signatures", "MB"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for case in figures["cases"].values():
        shown.add_row(
            case["about"],
            f"{case['per_second']:,.0f}",
            f"{case['p50_ms']:.2f}",
            f"{case['p99_ms']:.2f}",
            f"{case['cpu_us']:.1f}",
            f"{case['cpu_over_signature']:.2f}",
            f"{case['peak_mb']:.0f}",
        )
    shown.add_row("bare ES256 signatures", f"{figures['signing_limit_per_second']:,.0f}", *[""] * 5)
    if figures["ratio"]:
        shown.caption = f"{figures['ratio']:.1f} times {OIDC_PROVIDER}"
    return shown


BENCHMARK: Final = Benchmark(
    name="tokens",
    about="tokens a second, latency, CPU and memory, beside node oidc-provider",
    add_options=add_options,
    run=run,
    table=table,
)
