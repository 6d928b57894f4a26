"""One seed: a simulated month of user actions and faults, then the final checks."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation import memoise, patches
from tests.simulation.due_work import BOUND_SECONDS, BOUNDED_TIME, DueWork, due_work
from tests.simulation.faults import Faults
from tests.simulation.final_checks import FinalChecks, check_ready_objects
from tests.simulation.loop import VirtualLoop
from tests.simulation.server import CRDS, DECLARED
from tests.simulation.settings import HOUR, LONGEST_PAUSE_SECONDS, MONTH, RESYNC
from tests.simulation.simulation import HANDLER, InvariantViolation, Simulation
from tests.simulation.user_incidents import UserIncidents


@dataclass
class Outcome:
    seed: int
    violation: InvariantViolation | None
    writes: int = 0
    tokens: int = 0
    checks: int = 0
    keys: int = 0
    credentials: int = 0


class Scenario:
    def __init__(self, seed: int, loop: VirtualLoop, log: Callable[[str], None]) -> None:
        self.simulation = Simulation(seed, loop, log)
        self.users, self.faults = UserIncidents(self.simulation), Faults(self.simulation)
        self.rng, self.loop, self.log = self.simulation.rng, loop, log

    async def run(self) -> None:
        await self._start()
        last_incident = self.loop.now
        while self.loop.now < MONTH and not self.simulation.violation:
            await self._idle(min(self.rng.expovariate(1 / (14 * HOUR)), 60 * HOUR))
            if self._has_converged(max(last_incident, self.users.crd_restored)):
                self.simulation.expected_access.forget_withdrawn()
                check_ready_objects(self.simulation)
            await self.simulation.pods.request_tokens()
            last_incident = max(last_incident, await self._incident())
        if not self.simulation.violation:
            await FinalChecks(self.simulation, self.users, self.faults).run()

    def _has_converged(self, last_incident: float) -> bool:
        """Whether all processes have the current objects. While a CRD is missing its objects cannot be listed."""
        crds = len(self.simulation.server.all(CRDS)) == len(DECLARED)
        since = self.loop.now - last_incident
        return crds and not self.faults.active and self.simulation.settled and since > RESYNC + LONGEST_PAUSE_SECONDS

    async def _start(self) -> None:
        self.users.set_up_installation()
        for process in (*self.simulation.operators, *self.simulation.issuers):
            process.start()
        await self.simulation.advance(20.0)
        self.simulation.lease_pause.begin()

    async def _idle(self, seconds: float) -> None:
        if not self.faults.active:
            await self.simulation.advance(60.0)
        self.simulation.lease_pause.begin()
        end = self.loop.now + seconds
        while self.loop.now < end and not self.simulation.violation:
            await asyncio.sleep(min(self.rng.uniform(6 * HOUR, 24 * HOUR), end - self.loop.now))
            await self.simulation.pods.request_tokens()

    async def _incident(self) -> float:
        """Run user actions and faults in close succession. Returns the time of the last one."""
        actions = [
            self.faults.start_random_fault if self.rng.random() < 0.4 else self.users.random_action
            for _ in range(self.rng.randint(1, 3))
        ]
        healing = bool(self.faults.active) and self.rng.random() < 0.7
        if not self.simulation.settled:
            self.simulation.lease_pause.end()
        if healing:
            self.log("all faults end")
            await self.faults.heal()
            self._schedule_due_check()
            actions = actions if self.rng.random() < 0.5 else []
        for action in actions:
            self.log(f"*** {action()}")
            await asyncio.sleep(self.rng.choice((0.0, 0.01, 0.2, 3.0)))
        await self.simulation.advance(self.rng.uniform(0.0, 20.0))
        await self.simulation.pods.request_tokens()
        return self.loop.now

    def _schedule_due_check(self) -> None:
        """Invariant 12: what is due now, when no fault is active, must be done `BOUND_SECONDS` later."""
        self.loop.call_later(BOUND_SECONDS, self._check_due, due_work(self.simulation.observed), self.faults.count)

    def _check_due(self, before: DueWork, faults: int) -> None:
        if self.faults.active or self.faults.count != faults or not self.simulation.settled:
            return
        after = due_work(self.simulation.observed)
        for (plural, at), what in before.items():
            if after.get((plural, at)) == what:
                self.simulation.fail(
                    BOUNDED_TIME, f"{plural} {at}: {what} was due {BOUND_SECONDS:.0f} s ago, when all faults ended"
                )


def simulate(seed: int, log: Callable[[str], None] | None = None) -> Outcome:
    """Simulate one seed. `log` receives the history, one line per call."""
    loop = VirtualLoop()
    memoise.clear()
    patches.running_loop(loop)
    logger = logging.getLogger("scopewright")
    if HANDLER not in logger.handlers:
        logger.addHandler(HANDLER)
    write = log or (lambda line: None)
    scenario = Scenario(seed, loop, lambda line: write(f"{loop.now / HOUR:10.4f} h  {line}"))
    task = loop.create_task(scenario.run())
    violation: InvariantViolation | None = None
    try:
        while not task.done() and not scenario.simulation.violation:
            loop.run_once()
        violation = scenario.simulation.violation
        if task.done() and not violation:
            task.result()
        scenario.simulation.finished = True
        loop.run_until_done(scenario.simulation.shut_down())
    finally:
        patches.running_loop(None)
        HANDLER.simulation = None
    simulation = scenario.simulation
    return Outcome(
        seed,
        violation,
        simulation.writes,
        simulation.pods.issued,
        simulation.checks,
        simulation.keys_generated,
        simulation.secrets_generated,
    )
