"""Rotation that nobody notices: keys and credentials rotate under load while operators and issuers are killed."""

import argparse
import asyncio
import secrets as entropy
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

from rich.table import Table

from bench.benchmark import Benchmark, BenchmarkError, Figures
from bench.callers import Callers, Verifiers
from bench.counts import Counts
from bench.crowd import spread
from bench.ground import a_cluster, a_folder
from bench.mounts import Mounts
from bench.options import count
from bench.replicas import Replicas, replicas
from bench.screen import Screen
from bench.seeing import Secrets, look_at_keys, measure_lag
from bench.turning import Periods, Rotator, Turning
from bench.wire import Wire
from bench.workload import create, in_namespaces
from scopewright.stores.kube_api import Api, connect

CLIENTS: Final = 200
SLOWEST_MOUNT: Final = 5.0
ORDINARY_VERIFIERS: Final = 4
ISSUER_KILLS: Final = (2.0, 6.0)
OPERATOR_KILLS: Final = (10.0, 30.0)
SAY_EVERY: Final = 30.0
PATIENCE: Final = 120.0


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


async def run(options: argparse.Namespace, screen: Screen) -> Figures:
    rotating = _Rotating(options, screen)
    screen.say(f"seed: {rotating.seed}")
    with a_cluster(screen) as cluster, a_folder(options.logs) as logs:
        api = await connect(cluster.kubeconfig)
        try:
            async with in_namespaces(api, rotating.workload):
                return await rotating.run(api, cluster.kubeconfig, logs)
        finally:
            await api.close()


class _Rotating:
    def __init__(self, options: argparse.Namespace, screen: Screen) -> None:
        self._options = options
        self._screen = screen
        self._part = 10 if options.quick else 1
        self.seed: int = entropy.randbelow(1_000_000) if options.seed is None else options.seed
        self._periods = Periods(
            options.publish_ahead,
            options.jwks_max_age,
            options.replica_lag,
            options.overlap,
            options.token_lifetime,
        )
        clients = options.clients[-1] if options.clients else 40 if options.quick else CLIENTS
        self.workload = Turning(f"bench-{uuid.uuid4().hex[:8]}", clients, self._periods)
        self._counts = Counts()
        self._keys = max(1, options.key_rotations // self._part)
        self._credentials = max(1, options.credential_rotations // self._part)

    async def run(self, api: Api, kubeconfig: Path, logs: Path) -> Figures:
        async with AsyncExitStack() as leaving:
            with self._screen.step("operators and issuers: until they are ready"):
                await create(api, self.workload.signing_key())
                starting = replicas(
                    kubeconfig, self.workload, self._periods.settings, logs, operators=self._options.operators
                )
                running = await leaving.enter_async_context(starting)
            mounts = Mounts(logs / "mounts", SLOWEST_MOUNT, self._random("mounts"), self._counts)
            secrets = Secrets(api, self.workload, running.ports, mounts, self._counts)
            leaving.push_async_callback(secrets.finish)
            leaving.push_async_callback(mounts.close)
            await leaving.enter_async_context(
                _beside(secrets.run(), look_at_keys(running.ports, self._counts), measure_lag(self._counts))
            )
            await self._apply(api, mounts)
            await self._under_load(api, running, mounts, secrets)
        return self._figures()

    async def _apply(self, api: Api, mounts: Mounts) -> None:
        n = self.workload.clients

        async def apply(manifest: dict[str, Any]) -> None:
            await create(api, manifest)

        with self._screen.step(f"{n:,} clients: until each has its mount", n) as done:
            await spread(self.workload.apis(), apply, at_once=1, done=lambda _: None)
            await spread(self.workload.oauth_clients(), apply, at_once=16, done=lambda _: None)
            deadline = time.monotonic() + PATIENCE
            while len(mounts.there) < n:
                done(len(mounts.there))
                await asyncio.sleep(0.1)
                if time.monotonic() > deadline:
                    raise BenchmarkError(f"{len(mounts.there)} of {n} Secrets were there after {PATIENCE:.0f} s")

    async def _under_load(self, api: Api, running: Replicas, mounts: Mounts, secrets: Secrets) -> None:
        counts, options, connections = self._counts, self._options, Wire()
        verifiers = Verifiers(
            running.url,
            self.workload.audience,
            connections,
            running.ports,
            counts,
            self._random("verifiers"),
            ordinary=ORDINARY_VERIFIERS,
            slow_max_age=self._periods.publish_ahead,
        )
        callers = Callers(mounts.there, connections, running.ports, verifiers, counts, options.token_rate)
        rotator = Rotator(api, self.workload, secrets, counts)
        with self._screen.step("a token for each client"):
            await callers.warm_up(PATIENCE)
        counts.began, self._cpu = time.time(), time.process_time()
        counts.lags.clear()
        counts.retries_503 = counts.retries_connection = counts.unanswered = 0
        async with _beside(verifiers.second()):
            async with _beside(
                callers.run(),
                rotator.credentials(options.credential_rate),
                rotator.keys(options.key_every, self._keys),
                running.kill_issuers(ISSUER_KILLS, self._random("issuers"), counts),
                running.kill_operators(OPERATOR_KILLS, self._random("operators"), counts),
            ) as failed:
                await self._until_done(failed)
            with self._screen.step("the last tokens: until they end"):
                await verifiers.finish()

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
        counts, options = self._counts, self._options
        return {
            "seed": self.seed,
            "clients": self.workload.clients,
            "operators": options.operators,
            "seconds": round(self._seconds, 1),
            "complete": counts.key_rotations >= self._keys and counts.credential_rotations >= self._credentials,
            "cpu_seconds": {"bench": round(time.process_time() - self._cpu, 1)},
            "tokens_per_second": round(counts.token_requests / self._seconds, 1),
            "periods": {name: getattr(self._periods, name) for name in Periods.__slots__},
            **counts.figures(self._periods.publish_ahead),
        }

    def _random(self, of: str) -> Random:
        """One for each, so that what one does is not changed by how often another asks."""
        return Random(f"{self.seed} {of}")


@asynccontextmanager
async def _beside(*things: Coroutine[Any, Any, None]) -> "AsyncIterator[asyncio.Future[None]]":
    """They run until the block is left; the future is done once one of them has failed."""
    tasks = [asyncio.create_task(thing) for thing in things]
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def look(task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not failed.done():
            failed.set_exception(error)

    for task in tasks:
        task.add_done_callback(look)
    try:
        yield failed
        if failed.done():
            failed.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        failed.cancel()


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
