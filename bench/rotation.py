"""Rotation that nobody notices: keys and credentials rotate under load while operators and issuers are killed."""

import argparse
import asyncio
import secrets as entropy
import time
import uuid
from pathlib import Path
from typing import Final

from rich.table import Table

from bench.benchmark import Benchmark, Figures, on_a_loop
from bench.counts import Counts
from bench.emergency import emergency
from bench.ground import a_cluster, a_folder
from bench.options import count
from bench.screen import Screen
from bench.stage import Plan, Stage, beside, staged
from bench.turning import Periods, Rotator, Turning
from bench.workload import in_namespaces
from scopewright.stores.kube_api import Api
from scopewright.stores.kube_connect import connect

CLIENTS: Final = 200
ISSUER_KILLS: Final = (2.0, 6.0)
OPERATOR_KILLS: Final = (10.0, 30.0)
SAY_EVERY: Final = 30.0


def add_options(options: argparse._ArgumentGroup) -> None:
    def whole(name: str, default: int, text: str) -> None:
        options.add_argument(name, type=count, default=default, metavar="N", help=f"{text} [%(default)s]")

    whole("--key-rotations", 50, "keys that begin to sign")
    whole("--credential-rotations", 2000, "new values in Secrets")
    options.add_argument("--quick", action="store_true", help="a tenth of both, by 40 clients")
    whole("--minutes", 6, "longest run; what was reached by then is what counts")
    whole("--operators", 2, "replicas of the operator")
    whole("--token-rate", 120, "token requests a second")
    whole("--credential-rate", 15, "rotations of credentials that are asked for in a second")
    whole("--key-every", 3, "seconds between rotations of keys")
    whole("--publish-ahead", 3, "seconds that a key is public before it signs, besides the next two")
    whole("--jwks-max-age", 1, "seconds")
    whole("--replica-lag", 10, "seconds; a replica that is back from its snapshot is behind by some")
    whole("--overlap", 45, "seconds that a credential goes on working")
    whole("--token-lifetime", 20, "seconds")
    options.add_argument("--seed", type=int, help="of kills, mounts and verifiers [a new one each time]")


def run(options: argparse.Namespace, screen: Screen) -> Figures:
    rotating = _Rotating(options, screen)
    screen.say(f"seed: {rotating.seed}")
    with a_cluster(screen) as cluster, a_folder(options.logs) as logs:
        return on_a_loop(_run(rotating, cluster.kubeconfig, logs))


async def _run(rotating: "_Rotating", kubeconfig: Path, logs: Path) -> Figures:
    api = await connect(kubeconfig)
    try:
        async with in_namespaces(api, rotating.plan.workload):
            return await rotating.run(api, kubeconfig, logs)
    finally:
        await api.close()


class _Rotating:
    def __init__(self, options: argparse.Namespace, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._part = 10 if options.quick else 1
        self.seed: int = entropy.randbelow(1_000_000) if options.seed is None else options.seed
        periods = Periods(
            options.publish_ahead,
            options.jwks_max_age,
            options.replica_lag,
            options.overlap,
            options.token_lifetime,
        )
        clients = options.clients[-1] if options.clients else 40 if options.quick else CLIENTS
        workload = Turning(f"bench-{uuid.uuid4().hex[:8]}", clients, periods)
        self.plan = Plan(workload, options.operators, options.token_rate, self.seed)
        self._counts = Counts()
        self._keys = max(1, options.key_rotations // self._part)
        self._credentials = max(1, options.credential_rotations // self._part)

    async def run(self, api: Api, kubeconfig: Path, logs: Path) -> Figures:
        async with staged(self.plan, api, kubeconfig, logs, self._counts, self._screen) as stage:
            await self._under_load(api, stage)
        return self._figures()

    async def _under_load(self, api: Api, stage: Stage) -> None:
        counts, options, running = self._counts, self._options, stage.running
        rotator = Rotator(api, self.plan.workload, stage.secrets, counts)
        self._cpu = time.process_time()
        async with beside(stage.verifiers.second()):
            async with beside(
                stage.callers.run(),
                rotator.credentials(options.credential_rate),
                rotator.keys(options.key_every, self._keys),
                running.kill_issuers(ISSUER_KILLS, self.plan.random("issuers"), counts),
                running.kill_operators(OPERATOR_KILLS, self.plan.random("operators"), counts),
            ) as failed:
                await self._until_done(failed)
            with self._screen.step("the last tokens: until they end"):
                await stage.verifiers.finish()
        with self._screen.step("every key is revoked: until no issuer serves one"):
            self._emergency = await emergency(running, rotator)

    async def _until_done(self, failed: "asyncio.Future[None]") -> None:
        counts, began = self._counts, time.monotonic()
        say_at = began + SAY_EVERY
        title = f"{self._keys:,} keys and {self._credentials:,} credentials rotate"
        with self._screen.step(title, self._keys + self._credentials) as done:
            while counts.key_rotations < self._keys or counts.credential_rotations < self._credentials:
                await asyncio.wait([failed], timeout=0.25)
                if failed.done():
                    failed.result()
                now = time.monotonic()
                done(min(counts.key_rotations, self._keys) + min(counts.credential_rotations, self._credentials))
                if now > say_at:
                    say_at += SAY_EVERY
                    self._screen.say(f"  {now - began:.0f} s: {_in_words(counts)}")
                if now > began + 60 * self._options.minutes:
                    self._screen.say(f"  not all within {self._options.minutes} minutes")
                    break
        self._seconds = time.monotonic() - began

    def _figures(self) -> Figures:
        counts, options, periods = self._counts, self._options, self.plan.workload.periods
        return {
            "seed": self.seed,
            "clients": self.plan.workload.clients,
            "operators": options.operators,
            "seconds": round(self._seconds, 1),
            "complete": counts.key_rotations >= self._keys and counts.credential_rotations >= self._credentials,
            "cpu_seconds": {"bench": round(time.process_time() - self._cpu, 1)},
            "tokens_per_second": round(counts.token_requests / self._seconds, 1),
            "keys_revoked_seconds": round(self._emergency, 2),
            "periods": {name: getattr(periods, name) for name in Periods.__slots__},
            **counts.figures(periods.publish_ahead),
        }


def _in_words(counts: Counts) -> str:
    return (
        f"{counts.key_rotations} keys, {counts.credential_rotations:,} credentials, "
        f"{counts.token_requests:,} tokens ({counts.failed_token_requests} failed), "
        f"{counts.verifications:,} verifications ({counts.refused_valid_tokens} refused), "
        f"{counts.issuer_kills + counts.operator_kills} kills"
    )


def table(figures: Figures) -> Table:
    shown = Table(title=f"rotation under load: {figures['clients']} clients, {figures['seconds']:.0f} s")
    shown.add_column("what")
    shown.add_column("how many", justify="right")
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
    ("… tried again because of a 503", "retries_503"),
    ("… tried again at the other replica", "retries_connection"),
    ("… that no replica answered at first", "unanswered"),
    ("values of Secrets tried at once", "secrets_tried"),
    ("… that were refused", "secrets_refused"),
    ("verifications", "verifications"),
    ("… that refused a valid token", "refused_valid_tokens"),
    ("keys that signed too early", "keys_signed_too_early"),
    ("from revokedBefore to no issuer serving an older key, in seconds", "keys_revoked_seconds"),
    ("longest lag of a ready replica's JWKS, in seconds", "longest_jwks_lag_seconds"),
    ("shortest time from published to signing, in seconds", "shortest_publication_seconds"),
)


BENCHMARK: Final = Benchmark(
    name="rotation",
    about="keys and credentials rotate under load, with kills: what fails",
    add_options=add_options,
    run=run,
    table=table,
)
