"""The measured side of `reconcile`: time from applying the OAuthClients until the issuer accepts each of them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.benchmark import BenchmarkError
from bench.concurrency import for_each
from bench.installation import HOST, Installation, run_installation
from bench.issuer_client import CONNECTIONS, IssuerClient
from bench.machine import cpu, cpu_used
from bench.progress_display import ProgressDisplay
from bench.readiness_watch import ReadinessWatch
from bench.workload import Manifest, Workload, create
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import declared_path

EXTRA_CLIENTS: Final = 50
"""Number of clients that are applied one at a time after all others."""
TIMEOUT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class OperatorFigures:
    seconds: float
    """Until every client has got a token."""
    seconds_ready: float
    """Until every Secret exists and every client is Ready."""
    seconds_applied: float
    cpu: dict[str, float]
    """CPU seconds by process, over the same interval as `seconds`; with the control plane only if the benchmark
    started it.
    """
    operator_peak_mb: float
    issuer_peak_mb: float
    one_more: dict[str, Any]
    withdrawn_seconds: float


class Run:
    """One measurement on a running installation."""

    def __init__(
        self,
        api: Api,
        workload: Workload,
        installation: Installation,
        observing: AsyncExitStack,
        issuer: IssuerClient,
        display: ProgressDisplay,
    ) -> None:
        """`observing` ends what `apply_all` starts: the watches for the results."""
        self._api = api
        self._workload = workload
        self._installation = installation
        self._observing = observing
        self._readiness = ReadinessWatch(api, workload)
        self._issuer = issuer
        self._display = display

    async def apply_all(self, concurrency: int) -> tuple[float, float, float]:
        """Seconds until all clients are applied, ready, and accepted."""
        n = self._workload.clients
        started = time.perf_counter()
        with self._display.step(f"operator: {n:,} OAuthClients", n) as done:
            await for_each(self._workload.apis(), self._apply, concurrency=concurrency, done=lambda _: None)
            await for_each(self._workload.oauth_clients(), self._apply, concurrency=concurrency, done=done)
            applied = time.perf_counter() - started
            # Only now: watches of the benchmark are work for the API server that the bare client does not cause.
            await self._observing.enter_async_context(self._readiness)
        with self._display.step("operator: every Secret exists and every client is Ready"):
            ready = await self._until_ready(n) - started
        with self._display.step("issuer: a token for every client", n) as done:
            await for_each(list(self._readiness.credentials), self._expect_token, concurrency=CONNECTIONS, done=done)
            accepted = time.perf_counter() - started
        return applied, ready, accepted

    async def one_more(self) -> dict[str, Any]:
        """Milliseconds from applying one client to its Secret, without other load."""
        took: list[float] = []
        first = self._workload.clients
        with self._display.step(f"operator: {EXTRA_CLIENTS} more clients, one at a time", EXTRA_CLIENTS) as done:
            for n in range(first, first + EXTRA_CLIENTS):
                took.append(1000 * await self._one_more(self._workload.oauth_client(n)))
                done(len(took))
        took.sort()
        return {
            "samples": EXTRA_CLIENTS,
            "p50_ms": round(took[EXTRA_CLIENTS // 2], 1),
            "p99_ms": round(took[-1 - EXTRA_CLIENTS // 100], 1),
        }

    async def _one_more(self, manifest: Manifest) -> float:
        client_id = f"{manifest['metadata']['namespace']}.{manifest['metadata']['name']}"
        credentials = self._readiness.credentials
        started = time.perf_counter()
        await self._apply(manifest)
        written = await self._readiness.until(
            lambda: client_id in credentials, seconds=TIMEOUT_SECONDS, what="one more client"
        )
        return written - started

    async def withdrawal(self) -> float:
        """Seconds from deleting the shared grant to the last request that got a token."""
        credentials = list(self._readiness.credentials)
        grant = self._workload.shared_grant()["metadata"]
        last_accepted = started = time.perf_counter()
        with self._display.step("issuer: every client is refused after the grant is deleted"):
            await self._api.request("DELETE", declared_path("ScopeGrant", grant["namespace"], grant["name"]))
            while time.perf_counter() < started + TIMEOUT_SECONDS:
                accepted = False

                async def request(client_id: str) -> None:
                    nonlocal accepted, last_accepted
                    if await self._status(client_id) == 200:
                        accepted, last_accepted = True, time.perf_counter()

                await for_each(credentials, request, concurrency=CONNECTIONS, done=lambda _: None)
                if not accepted:
                    return last_accepted - started
        raise BenchmarkError(f"the issuer still gave tokens {TIMEOUT_SECONDS:.0f} s after the grant was deleted")

    async def _apply(self, manifest: Manifest) -> None:
        await create(self._api, manifest)

    async def _until_ready(self, n: int) -> float:
        seconds, readiness = TIMEOUT_SECONDS + n / 10, self._readiness
        return await readiness.until(
            lambda: len(readiness.credentials) == len(readiness.ready) == n, seconds=seconds, what=f"{n} clients"
        )

    async def _expect_token(self, client_id: str) -> None:
        status, content = await self._issuer.request_token(
            self._readiness.credentials[client_id], self._workload.audience
        )
        if status != 200:
            raise BenchmarkError(f"the issuer refused {client_id}: {status} {content.decode()}")

    async def _status(self, client_id: str) -> int:
        return (await self._issuer.request_token(self._readiness.credentials[client_id], self._workload.audience))[0]


async def measure(
    api: Api, kubeconfig: Path, workload: Workload, logs: Path, *, concurrency: int, display: ProgressDisplay
) -> OperatorFigures:
    """Measure with the given workload, whose namespaces must exist."""
    async with _running(api, kubeconfig, workload, logs, display) as (run, installation):
        before = cpu() | installation.cpu()
        applied, ready, accepted = await run.apply_all(concurrency)
        after = cpu() | installation.cpu()
        one_more = await run.one_more()
        withdrawn = await run.withdrawal()
        installation.check()
        operator_peak_mb, issuer_peak_mb = installation.peaks()
    return OperatorFigures(
        seconds=accepted,
        seconds_ready=ready,
        seconds_applied=applied,
        cpu=cpu_used(before, after),
        operator_peak_mb=operator_peak_mb,
        issuer_peak_mb=issuer_peak_mb,
        one_more=one_more,
        withdrawn_seconds=withdrawn,
    )


@asynccontextmanager
async def _running(
    api: Api, kubeconfig: Path, workload: Workload, logs: Path, display: ProgressDisplay
) -> AsyncIterator[tuple[Run, Installation]]:
    async with AsyncExitStack() as leaving:
        with display.step("operator and issuer: waiting until both are ready"):
            installation = await leaving.enter_async_context(run_installation(api, kubeconfig, workload, logs))
        issuer = await leaving.enter_async_context(IssuerClient.open(HOST, installation.issuer_port))
        yield Run(api, workload, installation, leaving, issuer, display), installation
