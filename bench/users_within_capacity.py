"""Client tokens, alone and while users log in, at rates that the server can serve: what users cost in latency.

Each load has a share of the rate that it reaches alone as fast as it can, so that the parts fit into any machine. All
loads are open: requests begin at their rate, whether earlier ones have ended or not.
"""

import asyncio
from itertools import cycle
from typing import Final

from bench.benchmark import BenchmarkError, Figures
from bench.progress_display import ProgressDisplay
from bench.runs import medians, spread
from bench.token_requests import RequestBatch
from bench.user_browser import Connection
from bench.user_load import OpenLoad, Step, quantile, run_closed, run_open
from bench.user_records import TOKENS
from bench.user_servers import Setup, UserServer

ALONE: Final = "alone"
WITH_USERS: Final = "with users"
SHARES: Final = {"tokens": 0.5, "logins": 0.1, "refreshes": 0.1}
"""Of the rate of each load alone."""
_WARM_UP_SECONDS: Final = 1.0


class WithinCapacity:
    def __init__(self, setup: Setup, rounds: int, seconds: int, display: ProgressDisplay) -> None:
        self._setup = setup
        self._rounds = rounds
        self._seconds = seconds
        self._display = display
        self._runs: dict[str, list[dict[str, float]]] = {ALONE: [], WITH_USERS: []}

    async def run(self) -> Figures:
        server = self._setup.scopewright("ES256")
        try:
            await server.wait_until_ready()
            await server.users.prepare()
            steps = _steps(server)
            capacity = {name: await self._capacity(server, step) for name, step in steps.items()}
            rates = {name: capacity[name] * share for name, share in SHARES.items()}
            with self._display.step(f"{self._rounds} rounds within the capacity", self._rounds) as done:
                for n in range(self._rounds):
                    for state, runs in self._runs.items():
                        runs.append(await self._measure(server, steps, rates, state))
                    done(n + 1)
            return self._figures(capacity, rates)
        finally:
            await asyncio.to_thread(server.stop)

    async def _capacity(self, server: UserServer, step: Step) -> float:
        """Steps a second."""
        await run_closed(server.users.connections, step, _WARM_UP_SECONDS)
        return (await run_closed(server.users.connections, step, self._seconds)).per_second

    async def _measure(
        self, server: UserServer, steps: dict[str, Step], rates: dict[str, float], state: str
    ) -> dict[str, float]:
        stop, chosen = asyncio.Event(), [name for name in steps if state == WITH_USERS or name == "tokens"]
        connections, cpu = server.users.connections, server.cpu()
        running = asyncio.gather(*(run_open(connections, steps[name], rates[name], stop) for name in chosen))
        try:
            await asyncio.sleep(self._seconds)
        finally:
            stop.set()
            loads = dict(zip(chosen, await running, strict=True))
        figures = {"server_cpu": round((server.cpu() - cpu) / loads["tokens"].seconds, 3)}
        for name, load in loads.items():
            figures |= _figures_of(name, load)
        return figures

    def _figures(self, capacity: dict[str, float], rates: dict[str, float]) -> Figures:
        pairs = list(zip(self._runs[WITH_USERS], self._runs[ALONE], strict=True))
        return {
            "capacity": {name: round(value, 1) for name, value in capacity.items()},
            "rates": {name: round(value, 1) for name, value in rates.items()},
            "states": {state: {**medians(runs), "runs": runs} for state, runs in self._runs.items()},
            "tokens_of_alone": {
                figure: spread([after[f"tokens_{figure}"] / before[f"tokens_{figure}"] for after, before in pairs])
                for figure in ("per_second", "p50_ms", "p99_ms")
            },
        }


def _figures_of(name: str, load: OpenLoad) -> dict[str, float]:
    if not load.done:
        raise BenchmarkError(f"none of the {name} at a rate was done: the machine is too busy to measure")
    return {
        f"{name}_per_second": round(load.done / load.seconds, 1),
        f"{name}_p50_ms": quantile(load.latencies, 0.5),
        f"{name}_p99_ms": quantile(load.latencies, 0.99),
        **{f"{name}_{what}": getattr(load, what) for what in ("refused", "failed", "dropped")},
    }


def _steps(server: UserServer) -> dict[str, Step]:
    requests = cycle(TOKENS.requests(RequestBatch(TOKENS.clients, TOKENS.clients, server.port)))

    async def token(connection: Connection) -> None:
        response = await connection.exchange(next(requests))
        if response.status != 200:
            raise BenchmarkError(f"a client token was refused with {response.status}")

    return {"tokens": token, "logins": server.users.log_in, "refreshes": server.users.refresh}
