"""Measures whole processes, from start to end: `scopewright token` beside curl, the verifier's import beside PyJWT's.

They run in an environment with the base install alone, in turns, so that a busy machine slows all of them.
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

from rich.table import Table

from bench.benchmark import Benchmark, BenchmarkError, Figures
from bench.options import count
from bench.progress_display import ProgressDisplay
from tests.base_install import BaseInstall
from tests.running import Running

BUDGETS_MS: Final = {"scopewright token": 300, "import scopewright.verifier": 150}
_CLIENT: Final = """\
apiVersion: scopewright.dev/v1alpha1
kind: ResourceServer
metadata: {name: payroll-api, namespace: payroll}
spec: {scopes: [{name: payroll.read}]}
---
apiVersion: scopewright.dev/v1alpha1
kind: ScopeGrant
metadata: {name: leave-reads, namespace: payroll}
spec: {resourceServer: payroll-api, scopes: [payroll.read], to: [{namespace: leave}]}
---
apiVersion: scopewright.dev/v1alpha1
kind: OAuthClient
metadata: {name: worker, namespace: leave}
spec: {access: [{resourceServer: payroll-api, namespace: payroll, scopes: [payroll.read]}]}
"""


def add_options(options: argparse._ArgumentGroup) -> None:
    options.add_argument("--starts", type=count, default=30, metavar="N", help="starts of each process [%(default)s]")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with display.step("installing the wheel without extras"):
            base = BaseInstall(folder)
        with Running(folder, {"client.yaml": _CLIENT}) as issuer:
            commands = _commands(base, issuer)
            for command in commands.values():  # writes the bytecode, which an installation has
                _seconds(command)
            took: dict[str, list[float]] = {name: [] for name in commands}
            with display.step(f"{options.starts} starts of each process", options.starts) as done:
                for n in range(options.starts):
                    for name, command in commands.items():
                        took[name].append(_seconds(command))
                    done(n + 1)
    return {"starts": options.starts, "processes": {name: _summary(name, each) for name, each in took.items()}}


def _commands(base: BaseInstall, issuer: Running) -> dict[str, Sequence[str | Path]]:
    client_id, client_secret = issuer.secret("leave", "worker")
    python, secret = base.bin / "python", issuer.state / "secrets/leave/worker-oauth"
    form = ("--data", "grant_type=client_credentials", "--user", f"{client_id}:{client_secret}")
    return {
        "python -c pass": (python, "-c", "pass"),
        "import jwt": (python, "-c", "import jwt"),
        "import scopewright.verifier": (python, "-c", "import scopewright.verifier"),
        "scopewright token": (base.bin / "scopewright", "token", "--secret", secret),
        "curl": ("curl", "--silent", "--show-error", "--fail", *form, f"{issuer.url}/token"),
    }


def _seconds(command: Sequence[str | Path]) -> float:
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
    took = time.perf_counter() - started
    if done.returncode:
        raise BenchmarkError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
    return took


def _summary(name: str, seconds: list[float]) -> dict[str, Any]:
    p95 = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    return {"p50_ms": round(median(seconds) * 1e3, 1), "p95_ms": round(p95 * 1e3, 1), "budget_ms": BUDGETS_MS.get(name)}


def table(figures: Figures) -> Table:
    made = Table(title="Whole processes, from start to end", title_justify="left")
    for heading in ("process", "p50 ms", "p95 ms", "budget ms"):
        made.add_column(heading)
    for name, each in figures["processes"].items():
        made.add_row(name, f"{each['p50_ms']}", f"{each['p95_ms']}", f"{each['budget_ms'] or ''}")
    return made


BENCHMARK: Final = Benchmark(
    "startup", "processes: `scopewright token` and the import of the verifier", add_options, run, table
)
