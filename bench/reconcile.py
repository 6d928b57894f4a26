"""How long N clients take from applied to accepted, against a bare client that makes the same writes."""

import argparse
import uuid
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rich.table import Table

from bench import bare, real
from bench.bare import BareFigures
from bench.benchmark import Benchmark, Figures, on_a_loop
from bench.ground import a_cluster, a_folder
from bench.options import count
from bench.real import RealFigures
from bench.screen import Screen
from bench.workload import Workload, clear, in_namespaces
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_connect import connect

DEFAULT_CLIENTS: Final = (200, 2000)
AT_ONCE: Final = 24
"""Requests in flight, of the bare client and of whoever applies: as many as the operator has, and none is faster."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--at-once",
        type=count,
        default=AT_ONCE,
        metavar="N",
        help="requests in flight of the bare client [%(default)s]",
    )


def run(options: argparse.Namespace, screen: Screen) -> Figures:
    with a_cluster(screen) as cluster, a_folder(options.logs) as logs:
        return on_a_loop(_run(options, screen, cluster.kubeconfig, logs))


async def _run(options: argparse.Namespace, screen: Screen, kubeconfig: Path, logs: Path) -> Figures:
    api = await connect(kubeconfig)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    try:
        async with in_namespaces(api, Workload(name, 0)):
            measuring = _Measuring(api, kubeconfig, name, logs, options.at_once, screen)
            await measuring.warm_up()
            runs = [await measuring.run(n) for n in options.clients or DEFAULT_CLIENTS]
    finally:
        await api.close()
    return {"requests_at_once": options.at_once, "runs": runs}


@dataclass(frozen=True, slots=True)
class _Measuring:
    api: Api
    kubeconfig: Path
    name: str
    logs: Path
    at_once: int
    screen: Screen

    async def warm_up(self) -> None:
        """An API server that has just begun to serve our kinds takes a second over the first of each."""
        await self._bare(5 * self.at_once)

    async def run(self, clients: int) -> dict[str, Any]:
        """Bare, real, bare: what the machine does beside us is then in both."""
        self.screen.say(f"{clients:,} clients")
        before = await self._bare(clients)
        took = await self._real(clients)
        return _figures(clients, (before, await self._bare(clients)), took)

    async def _bare(self, clients: int) -> BareFigures:
        workload = await self._cleared(clients)
        return await bare.measure(self.api, workload, at_once=self.at_once, screen=self.screen)

    async def _real(self, clients: int) -> RealFigures:
        workload = await self._cleared(clients)
        return await real.measure(
            self.api, self.kubeconfig, workload, self.logs, at_once=self.at_once, screen=self.screen
        )

    async def _cleared(self, clients: int) -> Workload:
        workload = Workload(self.name, clients)
        await clear(self.api, workload, self.screen)
        return workload


def _figures(clients: int, bares: tuple[BareFigures, ...], took: RealFigures) -> dict[str, Any]:
    applying, secrets, statuses = (
        fmean(getattr(b, name) for b in bares) for name in ("applying", "secrets", "statuses")
    )
    bare_seconds = secrets + statuses
    return {
        "clients": clients,
        "seconds": round(took.seconds, 3),
        "bare_seconds": round(bare_seconds, 3),
        "ratio": round(took.seconds / bare_seconds, 3),
        "operator_peak_mb": took.operator_peak_mb,
        "issuer_peak_mb": took.issuer_peak_mb,
        "seconds_ready": round(took.seconds_ready, 3),
        "seconds_applied": round(took.seconds_applied, 3),
        "bare_apply_seconds": round(applying, 3),
        "bare_creates_per_second": round(2 * clients / secrets),
        "bare_statuses_per_second": round(clients / statuses),
        "bare_runs": [[round(s, 3) for s in (b.applying, b.secrets, b.statuses)] for b in bares],
        "ratio_with_applying": round(took.seconds / (bare_seconds + applying), 3),
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in took.cpu.items()},
        "bare_cpu_seconds": {name: round(fmean(b.cpu[name] for b in bares), 2) for name in bares[0].cpu},
        "one_more": took.one_more,
        "grant_withdrawn_seconds": round(took.withdrawn_seconds, 3),
    }


def table(figures: Figures) -> Table:
    shown = Table(title="reconcile: from applied to accepted")
    rows: list[dict[str, Any]] = figures["runs"]
    shown.add_column("clients")
    for run_ in rows:
        shown.add_column(f"{run_['clients']:,}", justify="right")
    for label, text in _LINES:
        shown.add_row(label, *(text.format(**run_) for run_ in rows))
    return shown


_LINES: Final = (
    ("applied → accepted", "{seconds:.2f} s"),
    ("applied → Ready", "{seconds_ready:.2f} s"),
    ("bare writes (two Secrets, one status each)", "{bare_seconds:.2f} s"),
    ("ratio", "{ratio:.2f}"),
    ("bare applying of the OAuthClients", "{bare_apply_seconds:.2f} s"),
    ("ratio, with the applying in both", "{ratio_with_applying:.2f}"),
    ("bare creates", "{bare_creates_per_second}/s"),
    ("bare statuses", "{bare_statuses_per_second}/s"),
    ("CPU: operator", "{cpu_seconds[operator]:.1f} s"),
    ("CPU: issuer", "{cpu_seconds[issuer]:.1f} s"),
    ("CPU: this client", "{cpu_seconds[bench]:.1f} s"),
    ("peak memory: operator", "{operator_peak_mb:.0f} MB"),
    ("peak memory: issuer", "{issuer_peak_mb:.0f} MB"),
    ("one client more: p50", "{one_more[p50_ms]:.0f} ms"),
    ("one client more: p99", "{one_more[p99_ms]:.0f} ms"),
    ("grant withdrawn → last client refused", "{grant_withdrawn_seconds:.2f} s"),
)


BENCHMARK: Final = Benchmark(
    name="reconcile",
    about="N clients: applied → Secret there and accepted, against the bare writes",
    add_options=add_options,
    run=run,
    table=table,
)
