"""Measures N OAuthClients from applied to accepted, against a bare client that makes the same writes."""

import argparse
import uuid
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rich.table import Table

from bench import bare_client, operator_run
from bench.bare_client import BareClientFigures
from bench.benchmark import Benchmark, Figures, run_on_loop
from bench.cluster_setup import log_directory, open_bench_cluster
from bench.operator_run import OperatorFigures
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.workload import Workload, clear, in_namespaces
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.connect import connect

DEFAULT_CLIENTS: Final = (200, 2000)
CONCURRENCY: Final = 24
"""Concurrent requests when applying and of the bare client: as many as the operator makes."""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument(
        "--at-once",
        type=count,
        default=CONCURRENCY,
        metavar="N",
        help="concurrent requests of the bare client [%(default)s]",
    )


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    with open_bench_cluster(display) as cluster, log_directory(options.logs) as logs:
        return run_on_loop(_run(options, display, cluster.kubeconfig, logs))


async def _run(options: argparse.Namespace, display: ProgressDisplay, kubeconfig: Path, logs: Path) -> Figures:
    api = await connect(kubeconfig)
    name = f"bench-{uuid.uuid4().hex[:8]}"
    try:
        async with in_namespaces(api, Workload(name, 0)):
            measurement = _Measurement(api, kubeconfig, name, logs, options.at_once, display)
            await measurement.warm_up()
            runs = [await measurement.run(n) for n in options.clients or DEFAULT_CLIENTS]
    finally:
        await api.close()
    return {"requests_at_once": options.at_once, "runs": runs}


@dataclass(frozen=True, slots=True)
class _Measurement:
    api: Api
    kubeconfig: Path
    name: str
    logs: Path
    concurrency: int
    display: ProgressDisplay

    async def warm_up(self) -> None:
        """Run the bare client once: the API server takes a second for the first object of a new kind."""
        await self._run_bare_client(5 * self.concurrency)

    async def run(self, clients: int) -> dict[str, Any]:
        """Measure bare, operator, bare: other load on the machine then affects both sides."""
        self.display.print_line(f"{clients:,} clients")
        before = await self._run_bare_client(clients)
        operator = await self._run_operator(clients)
        return _figures(clients, (before, await self._run_bare_client(clients)), operator)

    async def _run_bare_client(self, clients: int) -> BareClientFigures:
        workload = await self._cleared(clients)
        return await bare_client.measure(self.api, workload, concurrency=self.concurrency, display=self.display)

    async def _run_operator(self, clients: int) -> OperatorFigures:
        workload = await self._cleared(clients)
        return await operator_run.measure(
            self.api, self.kubeconfig, workload, self.logs, concurrency=self.concurrency, display=self.display
        )

    async def _cleared(self, clients: int) -> Workload:
        workload = Workload(self.name, clients)
        await clear(self.api, workload, self.display)
        return workload


def _figures(clients: int, bares: tuple[BareClientFigures, ...], operator: OperatorFigures) -> dict[str, Any]:
    applying, secrets, statuses = (
        fmean(getattr(b, name) for b in bares) for name in ("applying", "secrets", "statuses")
    )
    bare_seconds = secrets + statuses
    return {
        "clients": clients,
        "seconds": round(operator.seconds, 3),
        "bare_seconds": round(bare_seconds, 3),
        "ratio": round(operator.seconds / bare_seconds, 3),
        "operator_peak_mb": operator.operator_peak_mb,
        "issuer_peak_mb": operator.issuer_peak_mb,
        "seconds_ready": round(operator.seconds_ready, 3),
        "seconds_applied": round(operator.seconds_applied, 3),
        "bare_apply_seconds": round(applying, 3),
        "bare_creates_per_second": round(2 * clients / secrets),
        "bare_statuses_per_second": round(clients / statuses),
        "bare_runs": [[round(s, 3) for s in (b.applying, b.secrets, b.statuses)] for b in bares],
        "ratio_with_applying": round(operator.seconds / (bare_seconds + applying), 3),
        "cpu_seconds": {name: round(seconds, 2) for name, seconds in operator.cpu.items()},
        "bare_cpu_seconds": {name: round(fmean(b.cpu[name] for b in bares), 2) for name in bares[0].cpu},
        "one_more": operator.one_more,
        "grant_withdrawn_seconds": round(operator.withdrawn_seconds, 3),
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
    ("bare creates of the OAuthClients", "{bare_apply_seconds:.2f} s"),
    ("ratio, OAuthClients included in both", "{ratio_with_applying:.2f}"),
    ("bare creates of Secrets", "{bare_creates_per_second}/s"),
    ("bare status writes", "{bare_statuses_per_second}/s"),
    ("CPU: operator", "{cpu_seconds[operator]:.1f} s"),
    ("CPU: issuer", "{cpu_seconds[issuer]:.1f} s"),
    ("CPU: this client", "{cpu_seconds[bench]:.1f} s"),
    ("peak memory: operator", "{operator_peak_mb:.0f} MB"),
    ("peak memory: issuer", "{issuer_peak_mb:.0f} MB"),
    ("one more client: p50", "{one_more[p50_ms]:.0f} ms"),
    ("one more client: p99", "{one_more[p99_ms]:.0f} ms"),
    ("grant deleted → last client refused", "{grant_withdrawn_seconds:.2f} s"),
)


BENCHMARK: Final = Benchmark(
    name="reconcile",
    about="N OAuthClients: applied → Secret exists and is accepted, against a bare client",
    add_options=add_options,
    run=run,
    table=table,
)
