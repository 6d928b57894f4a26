"""Client tokens, alone and while users log in: with a session store and a provider that work, and without.

wrk requests tokens as fast as it can, while logins and refreshes begin at a rate. One core serves both, so users' work
takes its share of tokens: `fair_share` is what is left of the rate if CPU time is all that they share.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench import wrk
from bench.benchmark import BenchmarkError, Figures
from bench.progress_display import ProgressDisplay
from bench.runs import medians, spread
from bench.token_requests import RequestBatch
from bench.user_browser import Connection, LoginRequest
from bench.user_load import OpenLoad, Step, quantile, run_closed, run_open
from bench.user_records import AWAY, TOKENS
from bench.user_servers import Setup, UserServer

_WARM_UP_SECONDS: Final = 1.0
_LEAST_CPU: Final = 0.01
"""The kernel counts CPU time in hundredths of a second: a short run may show none."""
ALONE: Final = "alone"
STATES: Final = {
    ALONE: "",
    "with users": "",
    "store hangs": "the session store is suspended: it accepts connections and does not answer",
    "store killed": "the session store is killed: its port refuses connections",
    "provider hangs": "the identity provider of all logins accepts connections and does not answer",
}


@dataclass(frozen=True, slots=True)
class Rates:
    """Begun in each second."""

    logins: int
    refreshes: int


class BesideTokens:
    def __init__(self, setup: Setup, rates: Rates, rounds: int, seconds: int, display: ProgressDisplay) -> None:
        self._setup = setup
        self._store = setup.store
        self._rates = rates
        self._rounds = rounds
        self._seconds = seconds
        self._display = display
        self._runs: dict[str, list[dict[str, float]]] = {state: [] for state in STATES}
        self._costs: dict[str, float] = {}
        """CPU seconds of the server for a login and a refresh."""

    async def run(self) -> Figures:
        server = self._setup.scopewright("RS256")
        try:
            await server.wait_until_ready()
            await server.users.prepare()
            requests = self._setup.folder / "client-tokens.requests"
            made = TOKENS.requests(RequestBatch(TOKENS.clients, TOKENS.clients, server.port))
            await asyncio.to_thread(wrk.write_requests, requests, made)
            await wrk.run_load(server.port, requests, _WARM_UP_SECONDS)
            self._costs = {
                "login": await self._cost(server, server.users.log_in),
                "refresh": await self._cost(server, server.users.refresh),
            }
            with self._display.step(f"{self._rounds} rounds of client tokens beside users", self._rounds) as done:
                for n in range(self._rounds):
                    for state in STATES:
                        self._runs[state].append(await self._measure(server, state))
                    done(n + 1)
            return self._figures()
        finally:
            await asyncio.to_thread(server.stop)

    async def _cost(self, server: UserServer, step: Step) -> float:
        await run_closed(server.users.connections, step, _WARM_UP_SECONDS)
        before = server.cpu()
        load = await run_closed(server.users.connections, step, self._seconds)
        return (server.cpu() - before) / load.done

    async def _measure(self, server: UserServer, state: str) -> dict[str, float]:
        requests = self._setup.folder / "client-tokens.requests"
        async with self._users(server, state) as loads:
            cpu, redis, own = server.cpu(), self._store.cpu(), time.process_time()
            begun = time.perf_counter()
            tokens = await wrk.run_load(server.port, requests, self._seconds)
            took = time.perf_counter() - begun
            used = {
                "server_cpu": round((server.cpu() - cpu) / took, 3),
                "redis_cpu": round((self._store.cpu() - redis) / took, 3),
                "load_cpu": round((time.process_time() - own) / took, 3),
            }
        figures = {
            "per_second": round(tokens.per_second, 1),
            "p50_ms": tokens.p50_ms,
            "p99_ms": tokens.p99_ms,
            **used,
        }
        for name, load in loads.items():
            figures |= {f"{name}_{what}": getattr(load, what) for what in ("done", "refused", "failed", "dropped")}
            figures[f"{name}_per_second"] = round(load.done / load.seconds, 1)
            figures[f"{name}_p99_ms"] = quantile(load.latencies, 0.99)
        return figures

    @contextlib.asynccontextmanager
    async def _users(self, server: UserServer, state: str) -> AsyncIterator[dict[str, OpenLoad]]:
        """Users' load during the block; the results are complete after it."""
        loads: dict[str, OpenLoad] = {}
        if state == ALONE:
            yield loads
            return
        users, stop = server.users, asyncio.Event()
        log_in = _begin_login if state == "provider hangs" else users.log_in
        async with self._store_as(state, server):
            running = asyncio.gather(
                run_open(users.connections, log_in, self._rates.logins, stop),
                run_open(users.connections, users.refresh, self._rates.refreshes, stop),
            )
            try:
                await asyncio.sleep(_WARM_UP_SECONDS)
                yield loads
            finally:
                stop.set()
                loads["logins"], loads["refreshes"] = await running

    @contextlib.asynccontextmanager
    async def _store_as(self, state: str, server: UserServer) -> AsyncIterator[None]:
        """The session store as it is in the state."""
        match state:
            case "store hangs":
                os.kill(self._store.pid, signal.SIGSTOP)
                try:
                    yield
                finally:
                    os.kill(self._store.pid, signal.SIGCONT)
            case "store killed":
                self._store.kill()
                try:
                    yield
                finally:
                    self._store.start()
                await server.users.begin_again()
            case _:
                yield

    def _figures(self) -> Figures:
        alone = self._runs[ALONE]
        states = {}
        for state, runs in self._runs.items():
            pairs = list(zip(runs, alone, strict=True))
            ratios = [run["per_second"] / before["per_second"] for run, before in pairs]
            middle = medians(runs)
            of_cpu = [_per_cpu_second(run) / _per_cpu_second(before) for run, before in pairs]
            states[state] = {
                "about": STATES[state],
                **middle,
                "ratio": spread(ratios),
                "ratio_of_cpu": round(median(of_cpu), 3),
                "fair_share": round(1 - self._share(middle), 3),
                "runs": runs,
            }
        return {
            "login_rate": self._rates.logins,
            "refresh_rate": self._rates.refreshes,
            "cpu_seconds_of": {name: round(cost, 6) for name, cost in self._costs.items()},
            "states": states,
        }

    def _share(self, run: dict[str, float]) -> float:
        """The part of the server's core that the users' requests took that were done."""
        logins, refreshes = run.get("logins_per_second", 0.0), run.get("refreshes_per_second", 0.0)
        return logins * self._costs["login"] + refreshes * self._costs["refresh"]


def _per_cpu_second(run: dict[str, float]) -> float:
    """Client tokens for each second of the server's CPU time: other programs of the machine change it little."""
    return run["per_second"] / max(run["server_cpu"], _LEAST_CPU)


async def _begin_login(connection: Connection) -> None:
    """The first two requests of a login: the second one asks the provider, and fails."""
    response = await connection.request("GET", LoginRequest("/authorize", AWAY, "").target)
    cookies = "; ".join(response.cookies)
    answer = await connection.request("GET", response.location, b"Cookie: %b\r\n" % cookies.encode())
    if answer.status not in (502, 503, 504):
        raise BenchmarkError(f"a provider that hangs is answered with {answer.status}")
