"""Rotates keys and credentials under load while operators and issuers are killed, and counts every failure."""

import argparse
import asyncio
import secrets as entropy
import time
import uuid
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.benchmark import Benchmark, Figures, run_on_loop
from bench.cluster_setup import log_directory, open_bench_cluster
from bench.counts import Counts
from bench.key_revocation import measure_key_revocation
from bench.key_rotation_run import Periods, RotationWorkload, Rotator
from bench.options import count
from bench.progress_display import ProgressDisplay
from bench.rotation_setup import RotationSetup, RunSettings, in_background, set_up
from bench.workload import in_namespaces
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.connect import connect

CLIENTS: Final = 200
ISSUER_KILLS: Final = (2.0, 6.0)
OPERATOR_KILLS: Final = (10.0, 30.0)
PROGRESS_INTERVAL_SECONDS: Final = 30.0


def add_options(options: argparse._ArgumentGroup) -> None:
    def integer(name: str, default: int, text: str) -> None:
        options.add_argument(name, type=count, default=default, metavar="N", help=f"{text} [%(default)s]")

    integer("--key-rotations", 50, "rotations of the signing key")
    integer("--credential-rotations", 2000, "rotations of credentials")
    options.add_argument("--quick", action="store_true", help="a tenth of both numbers of rotations, with 40 clients")
    integer("--minutes", 6, "time limit; the figures then have what was reached")
    integer("--operators", 2, "replicas of the operator")
    integer("--token-rate", 120, "token requests a second")
    integer("--credential-rate", 15, "rotations of credentials that are requested a second")
    integer("--key-every", 3, "seconds between rotations of keys")
    integer("--publish-ahead", 3, "seconds that a key is published before it signs (publishAhead)")
    integer("--jwks-max-age", 1, "max-age of the JWKS, in seconds")
    integer("--replica-lag", 10, "allowance in seconds for a replica that restarts from its snapshot (replicaLag)")
    integer("--overlap", 45, "seconds that a previous credential stays valid")
    integer("--token-lifetime", 20, "lifetime of a token, in seconds")
    options.add_argument("--seed", type=int, help="random seed of kills, mounts and verifiers. Default: a new one")


def run(options: argparse.Namespace, display: ProgressDisplay) -> Figures:
    run_ = _RotationRun(options, display)
    display.print_line(f"seed: {run_.seed}")
    with open_bench_cluster(display) as cluster, log_directory(options.logs) as logs:
        return run_on_loop(_run(run_, cluster.kubeconfig, logs))


async def _run(run_: "_RotationRun", kubeconfig: Path, logs: Path) -> Figures:
    api = await connect(kubeconfig)
    try:
        async with in_namespaces(api, run_.settings.workload):
            return await run_.run(api, kubeconfig, logs)
    finally:
        await api.close()


class _RotationRun:
    def __init__(self, options: argparse.Namespace, display: ProgressDisplay) -> None:
        self._options = options
        self._display = display
        self._divisor = 10 if options.quick else 1
        self.seed: int = entropy.randbelow(1_000_000) if options.seed is None else options.seed
        periods = Periods(
            options.publish_ahead,
            options.jwks_max_age,
            options.replica_lag,
            options.overlap,
            options.token_lifetime,
        )
        clients = options.clients[-1] if options.clients else 40 if options.quick else CLIENTS
        workload = RotationWorkload(f"bench-{uuid.uuid4().hex[:8]}", clients, periods)
        self.settings = RunSettings(workload, options.operators, options.token_rate, self.seed)
        self._counts = Counts()
        self._keys = max(1, options.key_rotations // self._divisor)
        self._credentials = max(1, options.credential_rotations // self._divisor)

    async def run(self, api: Api, kubeconfig: Path, logs: Path) -> Figures:
        async with set_up(self.settings, api, kubeconfig, logs, self._counts, self._display) as setup:
            await self._under_load(api, setup)
        return self._figures()

    async def _under_load(self, api: Api, setup: RotationSetup) -> None:
        counts, options, running = self._counts, self._options, setup.running
        rotator = Rotator(api, self.settings.workload, setup.secrets, counts)
        self._cpu_at_start = time.process_time()
        async with in_background(setup.verifiers.verify_before_expiry()):
            async with in_background(
                setup.callers.run(),
                rotator.credentials(options.credential_rate),
                rotator.keys(options.key_every, self._keys),
                running.kill_issuers(ISSUER_KILLS, self.settings.random("issuers"), counts),
                running.kill_operators(OPERATOR_KILLS, self.settings.random("operators"), counts),
            ) as failed:
                await self._until_done(failed)
            with self._display.step("waiting until the last tokens expire"):
                await setup.verifiers.finish()
        with self._display.step("every key is revoked: waiting until no issuer serves one"):
            self._revocation_seconds = await measure_key_revocation(running, rotator)

    async def _until_done(self, failed: "asyncio.Future[None]") -> None:
        counts, started = self._counts, time.monotonic()
        next_report = started + PROGRESS_INTERVAL_SECONDS
        title = f"{self._keys:,} keys and {self._credentials:,} credentials rotate"
        with self._display.step(title, self._keys + self._credentials) as done:
            while counts.key_rotations < self._keys or counts.credential_rotations < self._credentials:
                await asyncio.wait([failed], timeout=0.25)
                if failed.done():
                    failed.result()
                now = time.monotonic()
                done(min(counts.key_rotations, self._keys) + min(counts.credential_rotations, self._credentials))
                if now > next_report:
                    next_report += PROGRESS_INTERVAL_SECONDS
                    self._display.print_line(f"  {now - started:.0f} s: {_summary(counts)}")
                if now > started + 60 * self._options.minutes:
                    self._display.print_line(f"  stopped after {self._options.minutes} minutes, before all rotations")
                    break
        self._seconds = time.monotonic() - started

    def _figures(self) -> Figures:
        counts, options, periods = self._counts, self._options, self.settings.workload.periods
        return {
            "seed": self.seed,
            "clients": self.settings.workload.clients,
            "operators": options.operators,
            "seconds": round(self._seconds, 1),
            "complete": counts.key_rotations >= self._keys and counts.credential_rotations >= self._credentials,
            "cpu_seconds": {"bench": round(time.process_time() - self._cpu_at_start, 1)},
            "tokens_per_second": round(counts.token_requests / self._seconds, 1),
            "keys_revoked_seconds": round(self._revocation_seconds, 2),
            "periods": {name: getattr(periods, name) for name in Periods.__slots__},
            **counts.figures(periods.publish_ahead),
        }


def _summary(counts: Counts) -> str:
    return (
        f"{counts.key_rotations} keys, {counts.credential_rotations:,} credentials, "
        f"{counts.token_requests:,} tokens ({counts.failed_token_requests} failed), "
        f"{counts.verifications:,} verifications ({counts.refused_valid_tokens} refused), "
        f"{counts.issuer_kills + counts.operator_kills} kills"
    )


def table(figures: Figures) -> Table:
    shown = Table(title=f"rotation under load: {figures['clients']} clients, {figures['seconds']:.0f} s")
    shown.add_column("figure")
    shown.add_column("value", justify="right")
    for label, name in _LINES:
        value = figures[name]
        shown.add_row(label, f"{value:,}" if value is not None else "")
    return shown


_LINES: Final = (
    ("rotations of keys", "key_rotations"),
    ("rotations of credentials", "credential_rotations"),
    ("kills of issuers", "issuer_kills"),
    ("kills of operators", "operator_kills"),
    ("token requests", "token_requests"),
    ("… that failed", "failed_token_requests"),
    ("… retried after a 503", "retries_503"),
    ("… retried at the other replica", "retries_connection"),
    ("… that no replica answered", "unanswered"),
    ("new values of Secrets tried immediately", "secrets_tried"),
    ("… that were refused", "secrets_refused"),
    ("verifications", "verifications"),
    ("… that refused a valid token", "refused_valid_tokens"),
    ("keys that signed before publishAhead had passed", "keys_signed_too_early"),
    ("seconds from revokedBefore until no issuer serves an older key", "keys_revoked_seconds"),
    ("longest lag of a ready replica's JWKS (seconds)", "longest_jwks_lag_seconds"),
    ("shortest time from publication to first signature (seconds)", "shortest_publication_seconds"),
)


BENCHMARK: Final = Benchmark(
    name="rotation",
    about="rotate keys and credentials under load, with kills; count failures",
    add_options=add_options,
    run=run,
    table=table,
)
