"""The real thing: clients applied, and the clock runs until the issuer accepts every one of them."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.arrivals import Arrivals
from bench.asking import CONNECTIONS, Asking
from bench.benchmark import BenchmarkError
from bench.crowd import spread
from bench.installation import HOST, Installation, installed
from bench.machine import cpu, used
from bench.screen import Screen
from bench.workload import Manifest, Workload, create
from scopewright.stores.kube_api import Api
from scopewright.stores.kubernetes import declared_path

MORE: Final = 50
"""Clients that are applied one by one, when all the others are there."""
PATIENCE: Final = 60.0


@dataclass(frozen=True, slots=True)
class RealFigures:
    seconds: float
    """Until the issuer has given every client a token."""
    seconds_ready: float
    """Until every Secret is there and every client Ready."""
    seconds_applied: float
    cpu: dict[str, float]
    """Until the same instant as `seconds`; without the control plane's where it is not ours."""
    operator_peak_mb: float
    issuer_peak_mb: float
    one_more: dict[str, Any]
    withdrawn_seconds: float


class Run:
    """One measurement, with all that it needs running."""

    def __init__(
        self,
        api: Api,
        workload: Workload,
        installation: Installation,
        arrivals: Arrivals,
        asking: Asking,
        screen: Screen,
    ) -> None:
        self._api = api
        self._workload = workload
        self._installation = installation
        self._arrivals = arrivals
        self._asking = asking
        self._screen = screen

    async def all_of_them(self, at_once: int) -> tuple[float, float, float]:
        """Seconds until they are applied, ready, and accepted."""
        n = self._workload.clients
        began = time.perf_counter()
        with self._screen.step(f"operator: {n:,} OAuthClients", n) as done:
            await spread(self._workload.apis(), self._apply, at_once=at_once, done=lambda _: None)
            await spread(self._workload.oauth_clients(), self._apply, at_once=at_once, done=done)
            applied = time.perf_counter() - began
        with self._screen.step("operator: every Secret there and every client Ready"):
            ready = await self._until_ready(n) - began
        with self._screen.step("issuer: a token for every client", n) as done:
            await spread(list(self._arrivals.credentials), self._must_be_accepted, at_once=CONNECTIONS, done=done)
            accepted = time.perf_counter() - began
        return applied, ready, accepted

    async def one_more(self) -> dict[str, Any]:
        """Milliseconds from applying one client to its Secret, with nothing else going on."""
        took: list[float] = []
        first = self._workload.clients
        with self._screen.step(f"operator: {MORE} clients more, one by one", MORE) as done:
            for n in range(first, first + MORE):
                took.append(1000 * await self._one_more(self._workload.oauth_client(n)))
                done(len(took))
        took.sort()
        return {"samples": MORE, "p50_ms": round(took[MORE // 2], 1), "p99_ms": round(took[-1 - MORE // 100], 1)}

    async def _one_more(self, manifest: Manifest) -> float:
        client_id = f"{manifest['metadata']['namespace']}.{manifest['metadata']['name']}"
        credentials = self._arrivals.credentials
        began = time.perf_counter()
        await self._apply(manifest)
        there = await self._arrivals.until(lambda: client_id in credentials, seconds=PATIENCE, what="one client more")
        return there - began

    async def withdrawal(self) -> float:
        """Seconds from deleting everybody's grant to the last request that was answered with a token."""
        credentials = list(self._arrivals.credentials)
        grant = self._workload.everybodys_grant()["metadata"]
        last_accepted = began = time.perf_counter()
        with self._screen.step("issuer: every client refused once the grant is gone"):
            await self._api.request("DELETE", declared_path("ScopeGrant", grant["namespace"], grant["name"]))
            while time.perf_counter() < began + PATIENCE:
                accepted = False

                async def ask(client_id: str) -> None:
                    nonlocal accepted, last_accepted
                    if await self._status(client_id) == 200:
                        accepted, last_accepted = True, time.perf_counter()

                await spread(credentials, ask, at_once=CONNECTIONS, done=lambda _: None)
                if not accepted:
                    return last_accepted - began
        raise BenchmarkError(f"tokens were given {PATIENCE:.0f} s after the grant was deleted")

    async def _apply(self, manifest: Manifest) -> None:
        await create(self._api, manifest)

    async def _until_ready(self, n: int) -> float:
        seconds, arrivals = PATIENCE + n / 10, self._arrivals
        return await arrivals.until(
            lambda: len(arrivals.credentials) == len(arrivals.ready) == n, seconds=seconds, what=f"{n} clients"
        )

    async def _must_be_accepted(self, client_id: str) -> None:
        status, answer = await self._asking.ask(self._arrivals.credentials[client_id], self._workload.audience)
        if status != 200:
            raise BenchmarkError(f"the issuer refused {client_id}: {status} {answer.decode()}")

    async def _status(self, client_id: str) -> int:
        return (await self._asking.ask(self._arrivals.credentials[client_id], self._workload.audience))[0]


async def measure(
    api: Api, kubeconfig: Path, workload: Workload, logs: Path, *, at_once: int, screen: Screen
) -> RealFigures:
    """In namespaces that are there."""
    async with _running(api, kubeconfig, workload, logs, screen) as (run, installation):
        before = cpu() | installation.cpu()
        applied, ready, accepted = await run.all_of_them(at_once)
        after = cpu() | installation.cpu()
        one_more = await run.one_more()
        withdrawn = await run.withdrawal()
        installation.check()
        operator_peak_mb, issuer_peak_mb = installation.peaks()
    return RealFigures(
        seconds=accepted,
        seconds_ready=ready,
        seconds_applied=applied,
        cpu=used(before, after),
        operator_peak_mb=operator_peak_mb,
        issuer_peak_mb=issuer_peak_mb,
        one_more=one_more,
        withdrawn_seconds=withdrawn,
    )


@asynccontextmanager
async def _running(
    api: Api, kubeconfig: Path, workload: Workload, logs: Path, screen: Screen
) -> AsyncIterator[tuple[Run, Installation]]:
    async with AsyncExitStack() as leaving:
        with screen.step("operator and issuer: until both are ready"):
            installation = await leaving.enter_async_context(installed(api, kubeconfig, workload, logs))
        arrivals = await leaving.enter_async_context(Arrivals(api, workload))
        asking = await leaving.enter_async_context(Asking.at(HOST, installation.issuer_port))
        yield Run(api, workload, installation, arrivals, asking, screen), installation
